"""Canary, challenger and shadow: a canary is promoted, rolled back by itself, or cancelled."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.main import app
from components import registry
from components.settings import Settings
from components.store.promotions import list_promotions
from components.store.schema import Event, Impression
from components.store.variants import current_variants
from infra.deploy.promotion import rollback
from infra.local.platform import Platform
from infra.processes.orphans import environment_of, tagged_processes
from tests.support.platforms import SharedPlatform
from tests.support.promotion import (
    DEPLOY_SECONDS,
    FAILED_GATE,
    FRAGILE,
    NEXT,
    SHORT_CANARY_SECONDS,
    SOUND,
    Canary,
    canary_settings,
    champion,
    latest_promotion,
    promotions_since,
    register,
    serve_sound_version,
    served_version,
    set_alias,
    wait_for_promotion,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)
LONG_SECONDS = 600.0
USERS = [f"canary user {number}" for number in range(120)]
Feedback = Callable[[dict[str, Any]], str]


@pytest.fixture(autouse=True)
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    """Makes the first version the champion before each test."""
    serve_sound_version(platform, mlflow, engine)


def ask(platform: Platform, users: list[str], feedback: Feedback | None = None) -> dict[str, tuple[str, str]]:
    """Returns variant and version of each user's answer; `feedback` chooses their feedback on the first item."""
    with httpx.Client(base_url=platform.addresses.serving_url, timeout=60) as client, ThreadPoolExecutor(4) as pool:

        def request_and_respond(user: str) -> tuple[str, str]:
            answer = client.post("/recommend", json={"user_id": user, "k": 3}).raise_for_status().json()
            if feedback:
                event = {"user_id": user, "item_id": answer["items"][0]["item_id"], "event": feedback(answer)}
                event["request_id"] = answer["request_id"]
                client.post("/feedback", json={"events": [event]}).raise_for_status()
            return answer["variant"], answer["model_version"]

        return dict(zip(users, pool.map(request_and_respond, users), strict=True))


def stored_variants(engine: Engine, table: type[Impression | Event], users: list[str]) -> dict[str, tuple[str, str]]:
    """Returns variant and version of each user's stored rows."""
    columns = select(table.user_id, table.variant, table.model_version).where(table.user_id.in_(users))
    with Session(engine) as session:
        return {row.user_id: (row.variant, row.model_version) for row in session.execute(columns)}


def canary_of(engine: Engine) -> str | None:
    canary = current_variants(engine).get("canary")
    return canary.model_version if canary else None


def await_canary(platform: Platform, engine: Engine, version: str) -> None:
    """Waits until the service uses the canary."""
    eventually(lambda: canary_of(engine) == version, seconds=DEPLOY_SECONDS)
    eventually(lambda: version in served_versions(platform).values())


def served_versions(platform: Platform) -> dict[str, str]:
    """Returns the versions that the service uses, by variant."""
    answer = httpx.get(f"{platform.addresses.serving_url}/readyz", timeout=20)
    return {variant["variant"]: variant["model_version"] for variant in answer.json()["variants"]}


def test_successful_canary_is_promoted_to_all_users(
    platform: Platform, mlflow: str, engine: Engine, canary: Canary
) -> None:
    count = len(list_promotions(engine))
    canary(LONG_SECONDS)
    set_alias(mlflow, NEXT)
    await_canary(platform, engine, NEXT)
    assigned = ask(platform, USERS, lambda answer: "like")
    assert set(assigned.values()) == {("champion", SOUND), ("canary", NEXT)}
    chosen = [user for user, by in assigned.items() if by == ("canary", NEXT)]
    assert 18 <= len(chosen) <= 58, "about 30 % of 120"
    assert ask(platform, USERS) == assigned, "users keep their variant"
    served = platform.status()
    assert served["served"]["model_version"] == SOUND
    assert {variant["variant"] for variant in served["variants"]} == {"champion", "canary"}
    assert stored_variants(engine, Impression, USERS) == stored_variants(engine, Event, USERS) == assigned
    canary(SHORT_CANARY_SECONDS)
    wait_for_promotion(engine, NEXT, "serving")
    eventually(lambda: set(ask(platform, USERS[:10]).values()) == {("champion", NEXT)}, seconds=30)
    assert champion(mlflow) == NEXT
    states = [
        state for version, _, state in promotions_since(engine, count) if version == NEXT
    ]  # older deployments may still end
    assert states == ["requested", "canary", "serving"]


def test_failing_canary_is_rolled_back_early(platform: Platform, mlflow: str, engine: Engine, canary: Canary) -> None:
    users = [f"disliking {user}" for user in USERS[:40]]
    events = [{"user_id": user, "item_id": "i3", "event": "dislike"} for user in users]
    url = platform.addresses.serving_url
    httpx.post(f"{url}/feedback", json={"events": events}, timeout=60).raise_for_status()
    canary(LONG_SECONDS)
    set_alias(mlflow, FRAGILE)
    await_canary(platform, engine, FRAGILE)
    assert set(ask(platform, users).values()) == {("champion", SOUND)}, "the champion is the fallback"
    wait_for_promotion(engine, FRAGILE, "refused")
    assert "answers failed, the champion's 0 of" in latest_promotion(engine)[3]
    assert "answers failed" in registry.version(mlflow, FRAGILE).tags["refused"]
    assert (champion(mlflow), served_version(platform), canary_of(engine)) == (SOUND, SOUND, None)


def test_canary_with_worse_feedback_is_rolled_back(
    platform: Platform, mlflow: str, engine: Engine, canary: Canary
) -> None:
    canary(LONG_SECONDS)
    set_alias(mlflow, NEXT)
    await_canary(platform, engine, NEXT)
    users = [f"judging {number}" for number in range(160)]
    ask(platform, users, lambda answer: "hide" if answer["variant"] == "canary" else "like")
    canary(SHORT_CANARY_SECONDS)
    wait_for_promotion(engine, NEXT, "refused")
    assert "its positive_rate is 0.0000" in latest_promotion(engine)[3]
    assert (champion(mlflow), served_version(platform), canary_of(engine)) == (SOUND, SOUND, None)


@pytest.mark.long
def test_newer_alias_ends_canary(platform: Platform, mlflow: str, engine: Engine, canary: Canary) -> None:
    count = len(list_promotions(engine))
    canary(LONG_SECONDS)
    set_alias(mlflow, FRAGILE)
    await_canary(platform, engine, FRAGILE)
    set_alias(mlflow, NEXT)
    eventually(lambda: (FRAGILE, "registry", "superseded") in promotions_since(engine, count), seconds=60)
    canary(SHORT_CANARY_SECONDS)
    wait_for_promotion(engine, NEXT, "serving")
    assert champion(mlflow) == NEXT
    assert "refused" not in registry.version(mlflow, FRAGILE).tags, "it was superseded, not refused"


def test_rollback_ends_canary(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine, canary: Canary
) -> None:
    canary(LONG_SECONDS)
    set_alias(mlflow, FRAGILE)
    await_canary(platform, engine, FRAGILE)
    assert rollback(settings=settings, actor="ann") == SOUND
    assert (champion(mlflow), canary_of(engine)) == (SOUND, None)
    wait_for_promotion(engine, FRAGILE, "superseded")
    assert served_version(platform) == SOUND


@pytest.mark.long
def test_canary_is_withdrawn_and_retried_after_its_worker_dies(
    platform: Platform, mlflow: str, engine: Engine, canary: Canary
) -> None:
    count = len(list_promotions(engine))
    canary(LONG_SECONDS)
    set_alias(mlflow, NEXT)
    await_canary(platform, engine, NEXT)
    flows = [
        process for process in tagged_processes(platform.home.id) if "PREFECT__FLOW_RUN_ID" in environment_of(process)
    ]
    worker = platform.status()["services"]["worker-cpu"]["pid"]
    for pid in (worker, *(process.pid for process in flows)):
        os.kill(pid, signal.SIGKILL)
    canary(SHORT_CANARY_SECONDS)
    eventually(lambda: (NEXT, "registry", "failed") in promotions_since(engine, count), seconds=DEPLOY_SECONDS)
    wait_for_promotion(engine, NEXT, "serving")
    assert (champion(mlflow), canary_of(engine)) == (NEXT, None)


@pytest.fixture
def challenger(shared_platform: SharedPlatform, mlflow: str, tmp_path: Path) -> Iterator[str]:
    """A challenger for 40 % of the users and a shadow of all requests, from the next deployment on."""
    shared_platform.write_settings(canary_settings(SHORT_CANARY_SECONDS, challenger_share=0.4, shadow_share=1.0))
    version = register(mlflow, tmp_path / "8")
    set_alias(mlflow, version, "challenger")
    set_alias(mlflow, FAILED_GATE, "shadow")
    yield version
    for alias in ("challenger", "shadow"):
        MlflowClient(mlflow).delete_registered_model_alias(registry.NAME, alias)
    shared_platform.write_settings(canary_settings(SHORT_CANARY_SECONDS))


def test_challenger_and_shadow_run_beside_the_champion_and_are_reported(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine, challenger: str
) -> None:
    set_alias(mlflow, NEXT)
    wait_for_promotion(engine, NEXT, "serving")
    versions = {"champion": NEXT, "challenger": challenger, "shadow": FAILED_GATE}
    eventually(lambda: served_versions(platform) == versions, seconds=30)
    assert {variant["variant"]: variant["model_version"] for variant in platform.status()["variants"]} == versions
    users = [f"of two champions {number}" for number in range(120)]
    assigned = ask(platform, users, lambda answer: "hide" if answer["variant"] == "challenger" else "like")
    assert set(assigned.values()) == {("champion", NEXT), ("challenger", challenger)}
    assert 30 <= list(assigned.values()).count(("challenger", challenger)) <= 66, "about 40 % of 120"
    assert ask(platform, users) == assigned, "users keep their variant"
    assert stored_variants(engine, Event, users) == assigned
    eventually(lambda: stored_variants(engine, Impression, users) == assigned, seconds=30)

    def report() -> dict[str, Any]:
        answer = CliRunner(env={"DUOTEMPO_HOME": str(settings.home)}).invoke(app, ["report", "online", "--json"])
        return dict(json.loads(answer.stdout))

    eventually(
        lambda: [variant["model_version"] for variant in report()["shadows"]] == [FAILED_GATE],
        seconds=30,
    )
    payload = report()
    measured = payload["variants"]["challenger"]
    assert measured["model_version"] == challenger
    assert measured["impressions"] == 2 * list(assigned.values()).count(("challenger", challenger))
    assert measured["metrics"]["liked"]["mean"] == 0.0
    difference = measured["against_champion"]["liked"]
    assert difference["low"] <= difference["mean"] <= difference["high"] < 0
    (shadow,) = payload["shadows"]
    assert shadow["failed"] == 0 < shadow["answers"] and 0 < shadow["overlap"] <= 1
