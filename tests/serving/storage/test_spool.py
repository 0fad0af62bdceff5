"""Feedback while Postgres is away: durable on disk, effective at once, in Postgres exactly once afterwards."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.columns import Columns
from components.ingestion.clean import clean_events
from components.settings import EventSettings, PrivacySettings, Settings
from components.store.engine import make_engine
from components.store.erasure import forget
from components.store.keys import create_key
from components.store.privacy import Privacy
from serving.contract.responses import FeedbackAnswer
from serving.storage.spool import Row, Spool, dead_letters, spool_events
from tests.support.clock import make_clock
from tests.support.postgres import Server, stored
from tests.support.service import HISTORIES, killable_bento, wait_until_ready
from tests.support.service_client import (
    EVENTS,
    REUSED,
    SECRET,
    colours,
    export,
    ids,
    likes,
    metric,
    new_user,
    recommend,
    send_feedback,
    validated_error,
    view,
    wait_until_empty,
    wait_until_not_degraded,
)
from tests.support.service_client import forget as ask_to_forget
from tests.support.toy_data import NAMES, chessboard, load, squares
from tests.support.waiting import eventually

MIXTURES = int(os.environ.get("DUOTEMPO_TEST_EXAMPLES", "20")) // 10
"""Examples of mixed valid and hostile rows, each with an outage."""


@pytest.fixture(scope="module")
def loaded_database(postgres: tuple[Server, str]) -> str:
    """The URL of a database with the chessboard and the histories of its users."""
    _, url = postgres
    load(url, chessboard(), HISTORIES)
    return url


def folder_with_bundle(folder: Path) -> Path:
    """The folder, with a bundle in it."""
    chessboard().write(folder / "bundle")
    return folder


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_with_bundle(tmp_path_factory.mktemp("spool"))


@pytest.fixture(scope="module")
def small_spool(loaded_database: str, shared_folder: Path) -> Iterator[httpx.Client]:
    """A client of a Bento with a small spool."""
    settings = {"DUOTEMPO_SERVING__SPOOL_MB": "2", "DUOTEMPO_SECURITY__KEYS_SECONDS": "0.2"}
    with service(shared_folder, loaded_database, **settings) as (client, _):
        yield client


@pytest.fixture
def shared(small_spool: httpx.Client) -> httpx.Client:
    """A client for tests that neither kill the Bento nor need other settings; the spool is empty at start."""
    wait_until_empty(small_spool)
    wait_until_not_degraded(small_spool, "willy")
    return small_spool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for a Bento of this test's own."""
    return folder_with_bundle(tmp_path)


@contextmanager
def service(folder: Path, url: str, **settings: str) -> Iterator[tuple[httpx.Client, Callable[[], None]]]:
    """A client of a new Bento, and a function that kills it. All Bentos of a database share one privacy key."""
    with killable_bento(folder, url, DUOTEMPO_PRIVACY__KEY=SECRET, **settings) as (address, kill):
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=30) as client:
            yield client, kill


@contextmanager
def postgres_stopped(server: Server) -> Iterator[None]:
    """Stops Postgres for the block, and restarts it afterwards."""
    server.stop()
    try:
        yield
    finally:
        server.restart()


def test_spooled_feedback_counts_at_once_and_is_stored_once(postgres: tuple[Server, str], shared: httpx.Client) -> None:
    (server, url), client = postgres, shared
    user, white = new_user(), squares("white")[:3]
    wrong = {"user_id": user, "item_id": "a1", "event": "stare"}
    unknown_item: dict[str, object] = {"user_id": user, "item_id": "of another board", "event": "view"}
    shown = recommend(client, user)
    batch = [
        *likes(user, *white),
        {"user_id": user, "item_id": "a1", "event": "view", "timestamp": 1.7e9},
        unknown_item,
    ]
    batch[0]["request_id"] = shown.request_id
    with postgres_stopped(server):
        answer = send_feedback(client, *batch, batch[0], wrong)
        assert (answer.accepted, answer.spooled, answer.duplicates) == (0, 5, 1)
        assert [(row.index, row.reason.split(":")[0]) for row in answer.rejected] == [(6, "unknown_event")]
        assert send_feedback(client, *batch[:4]).model_dump(exclude={"rejected"}) == {
            "accepted": 0, "duplicates": 4, "spooled": 0, "dropped": 0,
        }  # fmt: skip
        assert metric(client, "duotempo_spool_rows") == 6
        assert metric(client, "duotempo_spool_seconds") > 0
        after = recommend(client, user, k=40, explain=True)
        assert (after.degraded, after.user_state) == (True, "known")
        assert colours(recommend(client, user, k=5)) == {"white"}
        assert not {*white, "a1"} & set(ids(after))
    wait_until_empty(client)
    assert {item for _, item in stored(url, EVENTS, user)} == {*white, "a1"}
    assert len(stored(url, EVENTS, user)) == 4
    kept = "SELECT split_part(reason, ':', 1) FROM quarantine WHERE \"row\"->>'user_id' = %s ORDER BY 1"
    assert stored(url, kept, user) == [("unknown_event",), ("unknown_item",)]
    named = "SELECT model_version, variant, source FROM events WHERE request_id = %s"
    assert stored(url, named, shown.request_id) == [("7", "champion", "feedback")]
    assert send_feedback(client, *batch[:4]).duplicates == 4
    complete = wait_until_not_degraded(client, user, k=40)
    assert set(ids(complete)) == set(ids(after))


def test_a_killed_service_loses_no_acknowledged_feedback(
    postgres: tuple[Server, str], loaded_database: str, folder: Path
) -> None:
    server, url = postgres
    user, white = new_user(), squares("white")[:4]
    with postgres_stopped(server):
        with service(folder, url) as (client, kill):
            assert send_feedback(client, *likes(user, *white)).spooled == 4
            kill()
        with service(folder, url) as (client, _):
            again = recommend(client, user, k=5)
            assert (again.degraded, again.user_state) == (True, "known")
            assert not set(ids(again)) & set(white)
            server.restart()
            wait_until_empty(client)
            assert [item for _, item in stored(url, EVENTS, user)] == white
            server.stop()


def test_two_services_share_a_spool_and_store_once(
    postgres: tuple[Server, str], shared: httpx.Client, shared_folder: Path, folder: Path
) -> None:
    (server, url), first = postgres, shared
    users = [new_user() for _ in range(20)]
    spool = str(shared_folder / "home" / "spool")
    with service(folder, url, DUOTEMPO_SERVING__SPOOL_FOLDER=spool) as (second, _):
        with postgres_stopped(server):
            for user in users:
                assert send_feedback(first, *likes(user, *NAMES[:30])).spooled == 30
                assert send_feedback(second, *likes(user, *NAMES[20:50])).model_dump()["spooled"] == 20
            assert not set(NAMES[:50]) & set(ids(recommend(second, users[0], k=100)))
        wait_until_empty(first)
        for user in users:
            assert [item for _, item in stored(url, EVENTS, user)] == NAMES[:50]


def test_a_full_spool_refuses_feedback(postgres: tuple[Server, str], shared: httpx.Client) -> None:
    (server, url), client = postgres, shared
    with postgres_stopped(server):
        users = fill(client)
        assert 0.9 < metric(client, "duotempo_spool_used_ratio") <= 1
    assert_stored_once(client, url, users)
    assert metric(client, "duotempo_spool_used_ratio") < 0.1


def test_a_full_disk_refuses_feedback(postgres: tuple[Server, str], loaded_database: str, folder: Path) -> None:
    server, url = postgres
    disk = folder / "disk"
    disk.mkdir()
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "tmpfs", disk, "-o"]
    if os.geteuid() != 0 or subprocess.run([*mount, "size=1m"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        with service(folder, url, DUOTEMPO_SERVING__SPOOL_FOLDER=str(disk)) as (client, _):
            with postgres_stopped(server):
                users = fill(client)
            subprocess.run([*mount, "remount,size=16m"], check=True)
            assert_stored_once(client, url, users)
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(client: httpx.Client) -> list[str]:
    """Sends feedback until it is refused. Returns the users of the acknowledged rows, one row each."""
    acknowledged: list[str] = []
    for _ in range(100):
        users = [new_user() for _ in range(100)]
        comment = {"item_id": "a1", "event": "comment", "text": "x" * 200, "timestamp": 1.7e9}  # too old for a trend
        events = [comment | {"user_id": user} for user in users]
        response = client.post("/feedback", json={"events": events})
        if response.status_code != 200:
            break
        assert FeedbackAnswer.model_validate(response.json()).spooled == len(users)
        acknowledged += users
    assert (response.status_code, validated_error(response).code) == (503, "database_away")
    assert int(response.headers["retry-after"]) > 0
    assert recommend(client, acknowledged[0]).user_state == "known"
    return acknowledged


def assert_stored_once(client: httpx.Client, url: str, users: list[str]) -> None:
    wait_until_empty(client)
    count = "SELECT user_id FROM events WHERE event = 'comment' AND user_id = ANY(%s)"
    assert sorted(stored(url, count, users)) == [(user,) for user in sorted(users)]


def test_spooled_feedback_is_exported_and_erased(
    postgres: tuple[Server, str], shared: httpx.Client, shared_folder: Path
) -> None:
    (server, url), client = postgres, shared
    erased, silent, gone = new_user(), new_user(), new_user()
    engine = make_engine(url)
    with engine.begin() as connection:
        _, key = create_key(connection, "the tests of the spool", ["admin"])
    admin = {"Authorization": f"Bearer {key}"}
    spool = Spool(shared_folder / "home" / "spool", 2)
    with ExitStack() as locks:
        assert eventually(lambda: locks.enter_context(spool.replay_lock()), 60), (
            "a service takes the lock whenever it polls"
        )
        with postgres_stopped(server):
            for user in (erased, silent, gone):
                assert send_feedback(client, *likes(user, "a1", "b1")).spooled == 2
        wait_until_known(client, admin, erased)
        exported = export(client, admin, erased)
        assert [row[Columns.ITEM] for row in exported.spooled] == ["a1", "b1"]
        assert ask_to_forget(client, admin, erased).removed["spool"] == 2
        assert export(client, admin, erased).spooled == []
        assert recommend(client, erased).user_state == "new"
        response = client.post("/consent", json={"user_id": silent, "consent": False}, headers=admin)
        assert response.status_code == 200
        assert export(client, admin, silent).spooled == []
        with engine.begin() as connection:
            forget(connection, Privacy(Settings(privacy=PrivacySettings.model_validate({"key": SECRET}))), gone)
        assert spool.size().rows == 2
    wait_until_empty(client)
    for user in (erased, silent, gone):
        assert stored(url, EVENTS, user) == []
    refused = "SELECT \"row\"::text FROM quarantine WHERE reason LIKE 'forgotten_user%%'"
    assert set(stored(url, refused)) == {("{}",)}
    eventually(lambda: not remaining_users(shared_folder / "home" / "spool", erased, silent, gone), 60)
    spool.close()
    engine.dispose()


def remaining_users(folder: Path, *users: str) -> list[str]:
    """The users whose ids occur anywhere in the files of the spool."""
    files = b"".join(file.read_bytes() for file in folder.iterdir())
    return [user for user in users if user.encode() in files]


def wait_until_known(client: httpx.Client, admin: dict[str, str], user: str) -> None:
    """Waits until Postgres is back and the keys are read."""
    eventually(lambda: client.post("/export", json={"user_id": user}, headers=admin).status_code == 200, 60)


def test_a_clock_set_back_while_running_loses_nothing(
    postgres: tuple[Server, str], loaded_database: str, folder: Path
) -> None:
    server, url = postgres
    clock, user, white = make_clock(folder), new_user(), squares("white")[:3]
    with service(folder, url, **clock.environment) as (client, _):
        assert send_feedback(client, *likes(user, *white)).accepted == 3
        assert recommend(client, user).user_state == "known"
        with postgres_stopped(server):
            assert send_feedback(client, *likes(user, "c1")).spooled == 1
            clock.turn(-7200)
            assert send_feedback(client, *likes(user, "e1")).spooled == 1
            assert metric(client, "duotempo_spool_seconds") >= 0
            assert not {"c1", "e1", *white} & set(ids(recommend(client, user, k=64)))
        wait_until_empty(client)
        assert send_feedback(client, *likes(user, "g1")).accepted == 1
        answer = wait_until_not_degraded(client, user, k=64)
        assert answer.user_state == "known"
        assert not {"c1", "e1", "g1", *white} & set(ids(answer))
        assert [item for _, item in stored(url, EVENTS, user)] == [*white, "c1", "e1", "g1"]
        ages = "SELECT item_id FROM events WHERE user_id = %s AND occurred_at < now() - interval '1 hour' ORDER BY 1"
        assert stored(url, ages, user) == [("e1",), ("g1",)]


def test_a_clock_set_back_before_the_start_loses_nothing(
    loaded_database: str, shared: httpx.Client, shared_folder: Path
) -> None:
    """Events stored and spooled with a clock two hours ahead are stored and count."""
    url, client = loaded_database, shared
    later, user, spooled = datetime.now(UTC) + timedelta(hours=2), new_user(), new_user()
    white = squares("white")[:3]
    load(url, chessboard(), {user: [(name, "like", 0.0) for name in white]}, now=later)
    raw = [{**event, "timestamp": later.timestamp()} for event in likes(spooled, *white)]
    events = clean_events(raw, source="feedback", settings=EventSettings(), known_items=white, now=later).rows
    spool = Spool(shared_folder / "home" / "spool", 2)
    assert spool.add(spool_events(events)) == 3
    spool.close()
    wait_until_empty(client)
    assert len(stored(url, EVENTS, spooled)) == 3
    for one in (user, spooled):
        answer = recommend(client, one, k=5, explain=True)
        assert (answer.user_state, answer.degraded) == ("known", False)
        assert colours(answer) == {"white"}
    assert send_feedback(client, *likes(user, "a1")).accepted == 1
    assert "a1" not in ids(recommend(client, user, k=64))


def test_rows_of_another_process_are_seen_in_an_empty_spool(tmp_path: Path) -> None:
    one, other = Spool(tmp_path, 1), Spool(tmp_path, 1)
    for number in range(3):
        time.sleep(0.15)
        assert one.pending("user") == []
        assert one.pending("user") == []
        other.add([Row(f"event-{number}", "user", {"number": number})])
        (found,) = one.pending("user")
        assert found.values == {"number": number}
        other.remove([found])
    one.close()
    other.close()


GUARD = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE state text := substring(to_jsonb(NEW)::text FROM 'poison (\\w{5})');
BEGIN
    IF state IS NOT NULL THEN RAISE EXCEPTION 'poison' USING ERRCODE = state; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION guard();
CREATE TRIGGER guard BEFORE INSERT ON quarantine FOR EACH ROW WHEN (NEW.row::text LIKE '%mortal%')
    EXECUTE FUNCTION guard();
"""
POISONS = [f"{kind} {state}" for kind in ("poison", "mortal poison") for state in ("54000", "22003", "23514", "P0001")]
HOSTILE = st.one_of(
    st.sampled_from(POISONS).map(lambda poison: {"event": "comment", "text": poison}),
    st.sampled_from(["x" * 3000, "\x00", "é" * 400]).map(lambda user: {"user_id": user}),
    st.sampled_from([1e308, -1e13]).map(lambda value: {"event": "rating", "value": value}),
    st.sampled_from(["1970-01-01", 1e15, "soon", -1]).map(lambda time: {"timestamp": time}),
    st.just({"item_id": "nowhere"}),
)
MIXTURE = st.lists(st.lists(st.one_of(st.none(), HOSTILE), min_size=1, max_size=12), min_size=4, max_size=8)


@pytest.fixture
def guarded(loaded_database: str) -> Iterator[str]:
    """The URL of a database whose triggers reject some rows, some of them in quarantine too."""
    with psycopg.connect(loaded_database, autocommit=True) as connection:
        connection.execute(GUARD.encode())
        yield loaded_database
    with psycopg.connect(loaded_database, autocommit=True) as connection:
        connection.execute("DROP FUNCTION guard CASCADE")


def test_good_rows_among_hostile_ones_are_stored_once_in_spite_of_an_outage(
    postgres: tuple[Server, str], guarded: str, shared: httpx.Client, shared_folder: Path
) -> None:
    (server, url), client = postgres, shared

    @given(MIXTURE)
    @settings(REUSED, max_examples=MIXTURES, suppress_health_check=[*HealthCheck])
    def holds(mixture: list[list[dict[str, object] | None]]) -> None:
        user, good, numbers = new_user(), list[str](), count()

        def send(requests: list[list[dict[str, object] | None]]) -> None:
            for request in requests:
                names = [f"{user}-{next(numbers)}" for _ in request]
                usual = [{"event_id": name, **view(user)} for name in names]
                answer = send_feedback(
                    client, *({**one, **(other or {})} for one, other in zip(usual, request, strict=True))
                )
                assert answer.accepted + answer.spooled + answer.duplicates + len(answer.rejected) == len(request)
                good.extend(name for name, other in zip(names, request, strict=True) if other is None)

        half = len(mixture) // 2
        send(mixture[: half - 1])
        with postgres_stopped(server):
            send(mixture[half - 1 : half + 1])
        send(mixture[half + 1 :])
        wait_until_empty(client)
        assert sorted(str(name) for name, _ in stored(url, EVENTS, user)) == sorted(good)

    holds()
    dead = send_feedback(client, {**view(new_user()), "event": "comment", "text": POISONS[-1]})
    assert dead.spooled == 1
    wait_until_empty(client)
    letters = eventually(lambda: metric(client, "duotempo_dead_letters"), 60)
    assert letters == dead_letters(Settings(home=shared_folder / "home"))
