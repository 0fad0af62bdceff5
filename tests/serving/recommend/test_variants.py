"""Several versions in one Bento, which follows the table `variants` without a restart."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import Engine

from components.store.engine import make_engine
from components.store.variants import (
    CANARY,
    CHAMPION,
    SHADOW,
    ServingVariant,
    end_canary,
    promote_canary,
    set_challenger_and_shadow,
    set_serving_champion,
    start_canary,
)
from serving.contract.responses import Ready
from tests.support.failing_bundle import fragile
from tests.support.postgres import stored
from tests.support.service import HISTORIES, bento, wait_until_ready
from tests.support.service_client import metric, new_user, recommend, send_feedback
from tests.support.toy_data import chessboard, load, squares
from tests.support.waiting import eventually

OLD, NEW, FRAGILE, BROKEN, READ_ERRORS = "7", "8", "9", "10", "11"


@pytest.fixture(scope="module")
def served(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Ready]]:
    """A service with five versions, the last two unreadable; and its state before any variant was set."""
    folder = tmp_path_factory.mktemp("variants")
    plain = chessboard()
    for version, bundle in (
        (OLD, plain),
        (NEW, plain),
        (FRAGILE, fragile(plain)),
        (BROKEN, plain),
        (READ_ERRORS, plain),
    ):
        replace(bundle, manifest=plain.manifest | {"model_version": version}).write(folder / version)
    (folder / BROKEN / "vectors.npy").write_bytes((folder / BROKEN / "vectors.npy").read_bytes()[:-1] + b"?")
    (folder / READ_ERRORS / "manifest.json").write_bytes(b"\xff{")
    (folder / "champion").write_text(OLD)
    load(database, plain, HISTORIES)
    with bento(folder, database) as address, httpx.Client(base_url=address, timeout=30) as client:
        wait_until_ready(address)
        yield client, state(client)


@pytest.fixture(scope="module")
def client(served: tuple[httpx.Client, Ready]) -> httpx.Client:
    return served[0]


@pytest.fixture
def engine(client: httpx.Client, database: str) -> Iterator[Engine]:
    engine = make_engine(database)
    set_serving_champion(engine, OLD)
    set_challenger_and_shadow(engine, [])
    eventually(lambda: in_force(client) == {CHAMPION: OLD} and not state(client).notes, seconds=60)
    yield engine
    engine.dispose()


def state(client: httpx.Client) -> Ready:
    return Ready.model_validate(client.get("/readyz").json())


def in_force(client: httpx.Client) -> dict[str, str]:
    return {part.variant: part.model_version for part in state(client).variants}


def variants_of(client: httpx.Client, users: list[str]) -> dict[str, tuple[str, str]]:
    variants = {}
    for user in users:
        answer = recommend(client, user, k=1)
        variants[user] = answer.variant, answer.model_version
    return variants


def test_the_built_champion_serves_and_broken_versions_are_left_out(served: tuple[httpx.Client, Ready]) -> None:
    _, ready = served
    assert ready.ready
    assert (ready.model_version, set(ready.versions)) == (OLD, {OLD, NEW, FRAGILE})


def test_a_canary_is_promoted_without_a_new_process(client: httpx.Client, engine: Engine) -> None:
    users = [new_user() for _ in range(120)]
    start_canary(engine, OLD, NEW, 0.5)
    eventually(lambda: in_force(client) == {CHAMPION: OLD, CANARY: NEW}, seconds=60)
    assignments = variants_of(client, users)
    assert set(assignments.values()) == {(CHAMPION, OLD), (CANARY, NEW)}
    assert 35 < Counter(assignments.values())[CANARY, NEW] < 85
    assert variants_of(client, users) == assignments, "assignments are stable"
    assert promote_canary(engine, NEW)
    eventually(lambda: in_force(client) == {CHAMPION: NEW}, seconds=60)
    assert set(variants_of(client, users).values()) == {(CHAMPION, NEW)}
    assert promote_canary(engine, NEW), "promotion is idempotent"
    assert not promote_canary(engine, FRAGILE), "it is not a canary"


def test_feedback_is_attributed_to_its_response_or_the_current_variant(
    client: httpx.Client, engine: Engine, database: str
) -> None:
    user = new_user()
    before = recommend(client, user)
    start_canary(engine, OLD, NEW, 1.0)
    eventually(lambda: in_force(client) == {CHAMPION: OLD, CANARY: NEW}, seconds=60)
    first, second = squares("white")[:2]
    other_user = new_user()
    send_feedback(
        client,
        {"user_id": user, "item_id": first, "event": "like", "request_id": before.request_id},
        {"user_id": user, "item_id": second, "event": "like"},
        {"user_id": other_user, "item_id": first, "event": "like", "request_id": before.request_id},
    )
    query = "SELECT item_id, variant, model_version FROM events WHERE user_id = %s ORDER BY received_at"
    assert stored(database, query, user) == [(first, CHAMPION, OLD), (second, CANARY, NEW)]
    assert stored(database, query, other_user) == [(first, CANARY, NEW)], "a response to another user is ignored"
    end_canary(engine, NEW)


def test_a_failing_canary_falls_back_to_the_champion(client: httpx.Client, engine: Engine) -> None:
    user = new_user()
    send_feedback(client, {"user_id": user, "item_id": "a1", "event": "dislike"})
    start_canary(engine, OLD, FRAGILE, 1.0)
    eventually(lambda: in_force(client) == {CHAMPION: OLD, CANARY: FRAGILE}, seconds=60)
    answer = recommend(client, user)
    assert (answer.variant, answer.model_version) == (CHAMPION, OLD)
    assert metric(client, "duotempo_answers_total", variant=CANARY, model_version=FRAGILE, outcome="error") == 1
    healthy = recommend(client, new_user())
    assert (healthy.variant, healthy.model_version) == (CANARY, FRAGILE)


@pytest.mark.parametrize("version", ["99", BROKEN])
def test_an_unavailable_version_is_ignored_and_noted(client: httpx.Client, engine: Engine, version: str) -> None:
    set_serving_champion(engine, version)
    eventually(lambda: state(client).notes, seconds=60)
    ready = state(client)
    assert ready.ready
    assert ready.model_version == OLD
    assert f"version {version} cannot answer in this Bento" in ready.notes[0]
    assert ("vectors.npy" in ready.notes[0]) == (version == BROKEN)
    assert recommend(client, new_user()).model_version == OLD


def test_a_shadow_is_compared_and_not_shown(client: httpx.Client, engine: Engine, database: str) -> None:
    set_challenger_and_shadow(engine, [ServingVariant(SHADOW, NEW)])
    eventually(lambda: in_force(client) == {CHAMPION: OLD, SHADOW: NEW}, seconds=60)
    answer = recommend(client, "bella", k=5)
    assert (answer.variant, answer.model_version) == (CHAMPION, OLD)
    query = "SELECT model_version, overlap, error FROM shadow_answers WHERE request_id = %s"
    eventually(lambda: stored(database, query, answer.request_id), seconds=60)
    assert stored(database, query, answer.request_id) == [(NEW, 1.0, None)], "it is the same model"
    assert stored(database, "SELECT count(*) FROM impressions WHERE variant = 'shadow'") == [(0,)]


def test_the_version_header_has_no_effect_outside_smoke_tests(client: httpx.Client, engine: Engine) -> None:
    answer = client.post("/recommend", json={"user_id": "bella"}, headers={"X-Duotempo-Version": NEW}).json()
    assert (answer["variant"], answer["model_version"]) == (CHAMPION, OLD)
