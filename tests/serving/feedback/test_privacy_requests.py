"""Erasure, consent, export and pseudonyms over HTTP, verified directly in the database."""

import unicodedata
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import httpx
import pandas as pd
import psycopg
import pytest

from components.datasets.sources import Dataset
from components.settings import PrivacySettings, Settings
from components.store.engine import make_engine
from components.store.erasure import expire_tombstones
from components.store.privacy import Privacy
from serving.contract.responses import ConsentAnswer
from tests.support.loading import ingest
from tests.support.postgres import await_rows, stored
from tests.support.raw_events import NOW
from tests.support.service import RunningService, admin_key, bento, wait_until_ready
from tests.support.service_client import (
    SECRET,
    count_events,
    export,
    forget,
    ids,
    new_user,
    recommend,
    send_feedback,
    view,
)
from tests.support.toy_data import NAMES, chessboard, load


@pytest.fixture(scope="module")
def admin(database: str) -> dict[str, str]:
    """An admin key, created before the service, which reads the keys at start."""
    return admin_key(database)


@pytest.fixture(scope="module")
def service(database: str, admin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a database of its own, as the first erasure ties it to a privacy key."""
    place = tmp_path_factory.mktemp("people")
    chessboard().write(place / "bundle")
    load(database, chessboard(), {})
    with bento(place, database, DUOTEMPO_PRIVACY__KEY=SECRET) as address:
        wait_until_ready(address)
        yield RunningService(address, database)


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.address, timeout=60) as client:
        yield client


def settings(**more: object) -> Settings:
    return Settings(privacy=PrivacySettings.model_validate({"key": SECRET, **more}))


def consent(client: httpx.Client, admin: dict[str, str], user: str, said: bool) -> None:
    answer = client.post("/consent", json={"user_id": user, "consent": said}, headers=admin)
    assert ConsentAnswer.model_validate(answer.json()).consent is said, answer.text


def rows_naming(service: RunningService, user: str) -> dict[str, int]:
    """Rows per table that contain the user's id; without `erasures`, whose files may still be pending."""
    found = {}
    with psycopg.connect(service.database) as connection:
        query = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        for (table,) in connection.execute(query).fetchall():
            count = f'SELECT count(*) FROM "{table}" AS t WHERE position(%s IN to_jsonb(t)::text) > 0'
            ((rows,),) = connection.execute(count.encode(), (user,)).fetchall()
            if rows and table != "erasures":
                found[str(table)] = rows
    return found


def ingest_view(service: RunningService, user: str) -> dict[str, int]:
    """Ingests one event of the user. Returns the rejected rows by reason."""
    engine = make_engine(service.database)
    events = pd.DataFrame([{"user_id": user, "item_id": "a1", "event": "view", "timestamp": 1.7e9}])
    dataset = Dataset("late", events, pd.DataFrame({"item_id": ["a1"]}))
    report = ingest(engine, dataset, settings(), source=f"late {uuid.uuid4().hex}", now=NOW)
    engine.dispose()
    return report.rejected


def test_an_erased_user_leaves_no_row_and_is_not_stored_again(
    client: httpx.Client, service: RunningService, admin: dict[str, str]
) -> None:
    user = new_user()
    event_id = uuid.uuid4().hex
    send_feedback(client, view(user, event_id=event_id), view(user, "b1", text="mine"), view(f" {user} ", "z9"))
    recommend(client, user)
    await_rows(service.database, "SELECT * FROM impressions WHERE user_id = %s", user)
    assert set(rows_naming(service, user)) >= {"users", "events", "impressions", "quarantine"}
    removed = forget(client, admin, user).removed
    assert removed["impressions"] == removed["users"] == removed["quarantine"] == 1
    assert rows_naming(service, user) == {}
    assert stored(service.database, "SELECT * FROM event_keys WHERE event_id = %s", event_id) == []

    late = send_feedback(client, view(user, event_id=event_id), view(user, "z9"), view("somebody-else"))
    assert late.accepted == 1
    assert [(row.index, row.reason.split(":")[0]) for row in late.rejected] == [
        (0, "forgotten_user"),
        (1, "forgotten_user"),
    ]
    assert ingest_view(service, user) == {"forgotten_user": 1}
    assert recommend(client, user).user_state == "new"
    assert rows_naming(service, user) == {}


def test_a_tombstone_contains_no_user_id(client: httpx.Client, service: RunningService, admin: dict[str, str]) -> None:
    user = new_user()
    forget(client, admin, user)
    rows = stored(service.database, "SELECT user_hash FROM tombstones")
    assert rows
    assert user not in str(rows)


def test_erasing_twice_is_idempotent(client: httpx.Client, service: RunningService, admin: dict[str, str]) -> None:
    user = new_user()
    send_feedback(client, view(user))
    first, second = forget(client, admin, user), forget(client, admin, user)
    assert first.removed["events"] == 1
    assert set(second.removed.values()) == {0}
    assert first.erasure_id == second.erasure_id


def test_erasures_concurrent_with_feedback_leave_no_row(
    client: httpx.Client, service: RunningService, admin: dict[str, str]
) -> None:
    """Each erasure is concurrent with two batches of feedback and two lists; some of them run before it, some after."""
    for _ in range(3):
        user = new_user()
        send_feedback(client, view(user))
        barrier = Barrier(50)

        def send(number: int, user: str = user, barrier: Barrier = barrier) -> None:
            barrier.wait()
            if number % 5 == 0:
                forget(client, admin, user)
            elif number % 5 < 3:
                send_feedback(
                    client, *(view(user, item, timestamp=1.7e9 + number) for item in NAMES[:20]), view(user, "z9")
                )
            else:
                recommend(client, user)

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(send, range(50)))
        later = recommend(client, "somebody-else")
        await_rows(service.database, "SELECT 1 FROM impressions WHERE request_id = %s", later.request_id)
        assert rows_naming(service, user) == {}, "even after earlier impressions were flushed"
        exported = export(client, admin, user)
        assert not (
            exported.user or exported.events or exported.impressions or exported.rejected_rows or exported.spooled
        )
        assert recommend(client, user).user_state == "new"


def test_consent_readmits_an_erased_user(client: httpx.Client, service: RunningService, admin: dict[str, str]) -> None:
    user = new_user()
    send_feedback(client, view(user))
    forget(client, admin, user)
    consent(client, admin, user, False)
    assert rows_naming(service, user) == {}
    consent(client, admin, user, True)
    assert send_feedback(client, view(user)).accepted == 1
    assert recommend(client, user).user_state == "known"
    assert count_events(service, user) == 1


def test_without_consent_nothing_is_stored_or_used(
    client: httpx.Client, service: RunningService, admin: dict[str, str]
) -> None:
    user = new_user()
    send_feedback(client, view(user))
    consent(client, admin, user, False)
    before = rows_naming(service, user)
    answer = send_feedback(client, view(user, "b2"), view(user, "z9"))
    assert answer.accepted == 0
    assert {row.reason.split(":")[0] for row in answer.rejected} == {"no_consent"}
    assert recommend(client, user).user_state == "new"
    assert ingest_view(service, user) == {"no_consent": 1}
    assert rows_naming(service, user) == before
    consent(client, admin, user, True)
    assert recommend(client, user).user_state == "known"


def test_export_contains_all_stored_data(client: httpx.Client, admin: dict[str, str]) -> None:
    user = new_user()
    send_feedback(client, view(user, text="what I think"), view(user, "z9"))
    shown = recommend(client, user)
    exported = export(client, admin, user)
    assert [(row["item_id"], row["text"]) for row in exported.events] == [("a1", "what I think")]
    assert [row["request_id"] for row in exported.impressions] == [shown.request_id]
    assert [row["row"]["item_id"] for row in exported.rejected_rows] == ["z9"]
    assert [row["user_id"] for row in exported.user] == [user]
    forget(client, admin, user)
    after = export(client, admin, user)
    assert not (after.user or after.events or after.impressions or after.rejected_rows)
    assert str(after.excluded_reason).startswith("forgotten_user")
    assert after.nothing_is_kept_because == after.excluded_reason, "the deprecated name"


@pytest.mark.parametrize("path", ["/forget", "/export", "/consent"])
@pytest.mark.parametrize("body", [{}, {"user_id": ""}, {"user_id": "a\x00b"}, {"user_id": "x" * 201}, {"user_id": 5.5}])
def test_an_invalid_field_is_named(
    client: httpx.Client, admin: dict[str, str], path: str, body: dict[str, object]
) -> None:
    said = {"consent": True} if path == "/consent" else {}
    answer = client.post(path, json={**body, **said}, headers=admin)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "user_id")


def test_ingestion_with_another_privacy_key_is_refused(
    service: RunningService, client: httpx.Client, admin: dict[str, str]
) -> None:
    """With another key tombstones would not match, so late events of erased users would be stored."""
    forget(client, admin, new_user())
    engine = make_engine(service.database)
    dataset = Dataset("x", pd.DataFrame([view("u", timestamp=1.7e9)]), pd.DataFrame({"item_id": ["a1"]}))
    other = Settings(privacy=PrivacySettings.model_validate({"key": "another secret, as long as the first one"}))
    with pytest.raises(Exception, match="another privacy key"):
        ingest(engine, dataset, other, source="other", now=NOW)
    engine.dispose()


def test_with_pseudonyms_no_user_id_is_stored(
    service: RunningService, admin: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("pseudonyms")
    chessboard().write(place / "bundle")
    user = new_user()
    variables = {"DUOTEMPO_PRIVACY__KEY": SECRET, "DUOTEMPO_PRIVACY__PSEUDONYMS": "true"}
    with bento(place, service.database, **variables) as address:
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=60) as client:
            assert send_feedback(client, view(user), view(f"{user} ", "b1"), view(user, "z9")).accepted == 2
            assert recommend(client, user).user_state == "known"
            exported = export(client, admin, user)
            assert (len(exported.events), len(exported.impressions), len(exported.rejected_rows)) == (2, 1, 1)
            assert rows_naming(service, user) == {}
            assert recommend(client, exported.user_id).user_state == "known"
            engine = make_engine(service.database)
            events = pd.DataFrame([{"user_id": user, "item_id": "c1", "event": "view", "timestamp": 1.7e9}])
            dataset = Dataset("shop", events, pd.DataFrame({"item_id": ["c1"]}))
            assert ingest(engine, dataset, settings(pseudonyms=True), source="shop", now=NOW).accepted == 1
            engine.dispose()
            assert len(export(client, admin, user).events) == 3
            assert forget(client, admin, user).removed["users"] == 1
            assert send_feedback(client, view(user)).accepted == 0
            assert rows_naming(service, user) == {}


def test_tombstones_expire_after_the_configured_time(
    client: httpx.Client, service: RunningService, admin: dict[str, str]
) -> None:
    user = new_user()
    forget(client, admin, user)
    engine = make_engine(service.database)
    later = datetime.now(UTC) + timedelta(days=30, hours=1)
    with engine.begin() as connection:
        assert expire_tombstones(connection, later, 0) == 0
        assert expire_tombstones(connection, later, 31) == 0
        assert expire_tombstones(connection, later, 30) >= 1
    engine.dispose()
    assert send_feedback(client, view(user)).accepted == 1


SPELLINGS = {
    "blanks": "  {}\t",
    "no-break blank": "\u00a0{}\u00a0",
    "zero width": "\u200b{}\ufeff",
    "decomposed": "{}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_route_normalises_user_ids_alike(
    client: httpx.Client, service: RunningService, admin: dict[str, str], spelling: str
) -> None:
    user = f"josé-{new_user()}"
    spelt = SPELLINGS[spelling].format(unicodedata.normalize("NFD", user) if spelling == "decomposed" else user)
    assert send_feedback(client, view(spelt), view(user, "b1")).accepted == 2
    assert count_events(service, user) == 2
    answer = recommend(client, spelt, k=30)
    assert answer.user_state != "new"
    assert not {"a1", "b1"} & set(ids(answer))
    await_rows(service.database, "SELECT * FROM impressions WHERE user_id = %s", user)
    exported = export(client, admin, spelt)
    assert (exported.user_id, len(exported.events)) == (user, 2)
    consent(client, admin, spelt, False)
    assert recommend(client, user).user_state == "new"
    assert send_feedback(client, view(user)).accepted == 0
    consent(client, admin, user, True)
    assert forget(client, admin, spelt).found
    assert rows_naming(service, user) == {}
    assert not forget(client, admin, spelt).found


def test_every_route_normalises_item_ids_alike(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    send_feedback(client, view(user, "b1"))
    spelt = "\u200ba1 "
    assert client.post("/similar", json={"item_id": spelt}).json()["item_id"] == "a1"
    now = recommend(client, user, k=30, context=[{"item_id": spelt, "event": "view"}])
    assert "a1" not in ids(now)
    without = recommend(client, user, k=30, filters={"exclude_items": [spelt]})
    assert "a1" not in ids(without)
    assert recommend(client, user, k=30, filters={"category_in": [" white\u00a0 "]}).items


def test_an_integer_is_a_valid_id(client: httpx.Client, service: RunningService, admin: dict[str, str]) -> None:
    number = uuid.uuid4().int >> 80
    assert send_feedback(client, {"user_id": number, "item_id": "a1", "event": "view"}).accepted == 1
    assert recommend(client, number).user_state != "new"
    assert len(export(client, admin, number).events) == 1
    assert forget(client, admin, number).found


@pytest.mark.parametrize(
    "wrong", ["", "  ", "\u200b", "ki\u200bm", "ki\u00a0m", "k\x00", "x" * 201, True, 1.5, None, ["x"]]
)
def test_invalid_ids_are_refused(client: httpx.Client, admin: dict[str, str], wrong: object) -> None:
    for path, body in (
        ("/recommend", {"user_id": wrong}),
        ("/recommend", {"user_id": "x", "context": [{"item_id": wrong}]}),
        ("/recommend", {"user_id": "x", "filters": {"exclude_items": [wrong]}}),
        ("/similar", {"item_id": wrong}),
        ("/export", {"user_id": wrong}),
        ("/forget", {"user_id": wrong}),
        ("/consent", {"user_id": wrong, "consent": False}),
    ):
        assert client.post(path, json=body, headers=admin).status_code == 422, (path, wrong)


@pytest.mark.parametrize("field", ["timestamp", "value"])
def test_invalid_numbers_are_refused(client: httpx.Client, field: str) -> None:
    event = {"user_id": new_user(), "item_id": "a1", "event": "view"}
    assert client.post("/feedback", json={"events": [{**event, field: True}]}).status_code == 422
    for written in ("٣", "1_000"):
        (rejected,) = send_feedback(client, {**event, field: written}).rejected
        assert rejected.reason.startswith(f"bad_{field}: ")


def test_a_tombstone_of_an_unnormalised_id_still_counts(
    client: httpx.Client, service: RunningService, admin: dict[str, str]
) -> None:
    """Earlier versions stored the tombstone of the id before normalisation."""
    user = new_user()
    written = f" {user} "
    forget(client, admin, user)
    consent(client, admin, user, True)
    with psycopg.connect(service.database) as connection:
        user_hash = Privacy(settings()).tombstone(written)
        connection.execute("INSERT INTO tombstones (user_hash) VALUES (%s)", [user_hash])
    answer = send_feedback(client, view(written), view(new_user()))
    assert (answer.accepted, [row.reason.split(":")[0] for row in answer.rejected]) == (1, ["forgotten_user"])
    consent(client, admin, written, True)
    assert send_feedback(client, view(written)).accepted == 1
