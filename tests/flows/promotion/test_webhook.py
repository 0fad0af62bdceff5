"""Setting the alias `champion` in the registry deploys that version, or refuses it with a reason."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import Engine

from components import registry
from components.registry.webhook import FRESH_SECONDS
from components.store.promotions import FAILED, list_promotions, record_promotion, request_promotion
from infra.deploy.reconciler import Reconciler
from infra.local.platform import Platform
from tests.support.promotion import (
    DEPLOY_SECONDS,
    FAILED_GATE,
    NEXT,
    OF_OTHER_CODE,
    SOUND,
    WITHOUT_BUNDLE,
    alias_event,
    champion,
    latest_promotion,
    promotions_since,
    send_webhook,
    serve_sound_version,
    served_version,
    set_alias,
    wait_for_promotion,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True, scope="module")
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    serve_sound_version(platform, mlflow, engine)


def answers_from(platform: Platform, address: str, version: str) -> None:
    """Asserts that the version has the alias and serves."""
    assert champion(address) == version
    eventually(lambda: served_version(platform) == version, seconds=30)


def test_alias_set_in_the_registry_deploys_the_version(platform: Platform, mlflow: str, engine: Engine) -> None:
    count = len(list_promotions(engine))
    set_alias(mlflow, NEXT)
    wait_for_promotion(engine, NEXT, "serving")
    answers_from(platform, mlflow, NEXT)
    expected = [(NEXT, "registry", state) for state in ("requested", "canary", "serving")]
    assert [
        line for line in promotions_since(engine, count) if line[0] == NEXT
    ] == expected  # older deployments may still end
    assert send_webhook(platform, alias_event(NEXT)) == 200
    lines = [line for line in promotions_since(engine, count) if line[0] == NEXT]
    assert len(lines) == len(expected), "the serving version is not deployed again"


def test_alias_on_version_with_failed_gate_is_reverted(platform: Platform, mlflow: str, engine: Engine) -> None:
    serving = served_version(platform)
    set_alias(mlflow, FAILED_GATE)
    wait_for_promotion(engine, FAILED_GATE, "refused")
    version, before, actor, reason, _ = latest_promotion(engine)
    assert (version, before, actor) == (FAILED_GATE, serving, "registry")
    assert "below popularity" in reason
    assert "below popularity" in registry.version(mlflow, FAILED_GATE).tags["refused"]
    assert champion(mlflow) == serving == served_version(platform)


@pytest.mark.parametrize(
    ("version", "why"),
    [(OF_OTHER_CODE, "schema version 99, this code reads"), (WITHOUT_BUNDLE, "lacks what was asked for")],
)
def test_version_without_readable_bundle_is_refused(
    platform: Platform, mlflow: str, engine: Engine, version: str, why: str
) -> None:
    serving = served_version(platform)
    set_alias(mlflow, version)
    wait_for_promotion(engine, version, "refused")
    assert why in latest_promotion(engine)[3]
    refusal = registry.version(mlflow, version).tags["refused"]
    assert why in refusal and str(platform.home.path) not in refusal
    assert champion(mlflow) == serving == served_version(platform)


def test_webhook_rejects_forged_stale_and_malformed_deliveries(platform: Platform, mlflow: str, engine: Engine) -> None:
    before = promotions_since(engine, 0)
    body = alias_event(FAILED_GATE)
    assert send_webhook(platform, body, secret="somebody else's") == 401
    assert send_webhook(platform, body, age=2 * FRESH_SECONDS) == 401
    assert send_webhook(platform, body, age=-2 * FRESH_SECONDS) == 401
    assert httpx.post(f"{platform.addresses.hook_url}/alias", content=body, timeout=60).status_code == 401
    for never in ("9" * 5_000, "٣", "1e9", "-1", "nan"):
        assert send_webhook(platform, body, at=never) == 401
    deep = b'{"data": ' + b"[" * 60_000
    for malformed in (b"", b"[]", b"{", b"\xff", b'{"data": 1}', b'{"data": {"name": "duotempo"}}', deep):
        assert send_webhook(platform, malformed) == 400
    assert send_webhook(platform, b"x" * 100_000) == 413
    assert send_webhook(platform, alias_event("1", alias="challenger"), key="a") == 200
    assert send_webhook(platform, alias_event("1", alias="challenger"), key="a") == 409, "a replay"
    assert send_webhook(platform, body) == 200, "correctly signed, but only a hint: the registry decides"
    assert promotions_since(engine, 0) == before
    assert champion(mlflow) == served_version(platform)


def test_alias_set_while_the_webhook_was_down_is_deployed(platform: Platform, mlflow: str, engine: Engine) -> None:
    pid = platform.status()["services"]["hook"]["pid"]
    os.kill(pid, signal.SIGKILL)
    set_alias(mlflow, SOUND)
    eventually(lambda: platform.status()["services"]["hook"]["pid"] not in (None, pid), seconds=60)
    eventually(lambda: latest_promotion(engine)[0] == SOUND, seconds=60)
    wait_for_promotion(engine, SOUND, "serving")
    answers_from(platform, mlflow, SOUND)


def test_alias_on_refused_version_is_kept_for_one_check(platform: Platform, mlflow: str, engine: Engine) -> None:
    registry.tag_refused(mlflow, FAILED_GATE, "it was worse")
    pid = platform.status()["services"]["hook"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        set_alias(mlflow, FAILED_GATE)
        reconciler = Reconciler(platform, engine)
        assert "unless that was set just now" in reconciler.check()
        assert registry.champion_number(mlflow) == FAILED_GATE
        assert reconciler.check() == f"version {FAILED_GATE} was refused: {SOUND} keeps the alias"
        assert registry.champion_number(mlflow) == SOUND
    finally:
        os.kill(pid, signal.SIGCONT)
    answers_from(platform, mlflow, SOUND)


def test_last_of_two_quick_promotions_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    count = len(list_promotions(engine))
    with ThreadPoolExecutor(4) as pool:
        set_alias(mlflow, FAILED_GATE)
        set_alias(mlflow, NEXT)
        list(pool.map(lambda _: send_webhook(platform, alias_event(NEXT)), range(4)))
    eventually(lambda: (NEXT, "registry", "serving") in promotions_since(engine, count), seconds=DEPLOY_SECONDS)
    answers_from(platform, mlflow, NEXT)
    assert [line for line in promotions_since(engine, count) if line[0] == NEXT] == [
        (NEXT, "registry", state) for state in ("requested", "canary", "serving")
    ]


def test_forced_promotion_is_retried_with_its_force(platform: Platform, mlflow: str, engine: Engine) -> None:
    """As after a crash of everything: the command that forced the version is gone, and the alias is set."""
    serving = served_version(platform)
    request_promotion(engine, FAILED_GATE, serving, "kim", "I know better", forced=True)
    record_promotion(engine, FAILED_GATE, serving, "kim", "its deployment crashed", FAILED)
    set_alias(mlflow, FAILED_GATE)
    wait_for_promotion(engine, FAILED_GATE, "serving")
    assert "forced by kim: I know better" in latest_promotion(engine)[3]
    answers_from(platform, mlflow, FAILED_GATE)
