"""Loading in chunks: resumed, undone, killed, at once, and beside erasures."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import duckdb
import pytest
from components.ingestion.judge import Verdicts
from components.ingestion.load_events import judge_for, load_events, resumable
from sqlalchemy import Engine, text

from components.ingestion import load_events as loading
from components.ingestion.clean import clean_events
from components.settings import EventSettings, Settings
from components.store import event_chunks
from components.store.consent import set_consent
from components.store.engine import make_engine
from components.store.erasure import forget
from components.store.load import append_events
from components.store.loads import LoadError, begin_load, list_loads, read_load
from components.store.privacy import Privacy
from components.store.undo import Undone, undo_load
from tests.components.ingestion.test_judge import Row, row
from tests.components.ingestion.test_judge import database as input_of
from tests.support.raw_events import NOW

SETTINGS = Settings(events=EventSettings(earliest=date(1970, 1, 1)))
PRIVACY = Privacy(SETTINGS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "CHUNK_SIZE", 10)


@pytest.fixture
def shop(store: Engine) -> Engine:
    with store.begin() as connection:
        connection.execute(text("TRUNCATE tombstones, erasures"))
        connection.execute(text("INSERT INTO items (item_id, content_hash) VALUES ('a', ''), ('b', '')"))
    return store


def rows_of(count: int, start: int = 0) -> list[Row]:
    """Views of ten users, one a day; every tenth row needs cleaning."""
    return [
        row(f"{' ' if n % 10 == 3 else ''}u{n % 10}", "ab"[n % 2], n * 86_400.0) for n in range(start, start + count)
    ]


def judged(engine: Engine, rows: Sequence[Row]) -> tuple[duckdb.DuckDBPyConnection, Verdicts]:
    connection = input_of(rows)
    connection.unregister("known_items")
    return connection, judge_for(connection, engine, SETTINGS, "test", NOW)


def load(engine: Engine, rows: Sequence[Row], digest: str = "d") -> int:
    connection, verdicts = judged(engine, rows)
    run = begin_load(engine, "test", digest)
    load_events(connection, engine, SETTINGS, run, verdicts)
    connection.close()
    return run.load_id


def stored(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(each) for each in connection.execute(text(query))]


def count(engine: Engine, table: str = "events") -> int:
    [(number,)] = stored(engine, f"SELECT count(*) FROM {table}")
    return int(number)


COLUMNS = "event_id, user_id, item_id, event, value, text, occurred_at, source"


def test_what_is_stored_is_what_rows_one_by_one_give(shop: Engine) -> None:
    rows = [*rows_of(45), row("u\\1", "a", 3.25, "rating", value="4.5", text="so \\ so"), row("u", "z"), row(" ", "a")]
    run = load(shop, rows)
    in_chunks = stored(shop, f"SELECT {COLUMNS} FROM events ORDER BY received_at")
    assert read_load(shop, run).counts == {
        "stored": 46, "existing": 0, "refused": 0, "duplicates": 0,
        "rejected": {"missing_user_id": 1, "unknown_item": 1},
    }  # fmt: skip
    assert read_load(shop, run).state == "complete"
    assert count(shop, "quarantine") == 2 and count(shop, "users") == 11 and count(shop, "event_keys") == 46
    with shop.begin() as connection:
        connection.execute(text("TRUNCATE events, event_keys"))
        cleaned = clean_events(rows, source="test", settings=SETTINGS.events, known_items={"a", "b"}, now=NOW)
        append_events(connection, cleaned.rows)
    assert sorted(in_chunks) == sorted(stored(shop, f"SELECT {COLUMNS} FROM events"))


def test_received_at_keeps_the_order_of_arrival_over_all_chunks(shop: Engine) -> None:
    load(shop, [row(f"u{n:02}", "a", 5.0) for n in range(35)])
    assert [user for (user,) in stored(shop, "SELECT user_id FROM events ORDER BY received_at")] == [
        f"u{n:02}" for n in range(35)
    ]


def test_a_load_that_failed_is_resumed_where_it_stopped(shop: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store_chunk = event_chunks.store_chunk

    def fail_late(engine: Engine, privacy: Privacy, run: Any, chunk: int, lines: Any) -> None:
        if chunk == 3:
            raise RuntimeError("the power is out")
        store_chunk(engine, privacy, run, chunk, lines)

    monkeypatch.setattr(loading, "store_chunk", fail_late)
    with pytest.raises(RuntimeError, match="power"):
        load(shop, rows_of(45))
    [stopped] = list_loads(shop)
    assert stopped.state == "stopped" and 0 < count(shop) < 45
    monkeypatch.setattr(loading, "store_chunk", store_chunk)
    with pytest.raises(LoadError, match="another file"):
        resumable(shop, stopped.load_id, "other")
    connection, verdicts = judged(shop, rows_of(45))
    counts = load_events(connection, shop, SETTINGS, resumable(shop, stopped.load_id, "d"), verdicts)
    assert (counts["stored"], counts["existing"]) == (45, 0)
    assert count(shop) == count(shop, "event_keys") == 45
    with pytest.raises(LoadError, match="is complete"):
        resumable(shop, stopped.load_id, "d")


def _load_and_die(url: str) -> None:
    """Loads, and is killed in the middle of the transaction of the third chunk."""
    insert = event_chunks._insert
    done: list[int] = []

    def die(*arguments: Any) -> tuple[int, int]:
        result = insert(*arguments)
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(event_chunks, "_insert", die)  # noqa: B010
    loading.CHUNK_SIZE, loading.WORKERS = 10, 1
    load(make_engine(url), rows_of(45))


def test_a_killed_load_is_resumed_without_loss_or_repetition(shop: Engine, database: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_load_and_die, args=(database,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    [run] = list_loads(shop)
    assert run.state == "running" and count(shop) == count(shop, "event_keys") == 20
    connection, verdicts = judged(shop, rows_of(45))
    counts = load_events(connection, shop, SETTINGS, resumable(shop, run.load_id, "d"), verdicts)
    assert counts["stored"] == 45 and count(shop) == count(shop, "event_keys") == 45


def test_an_undo_removes_what_the_load_stored(shop: Engine) -> None:
    run = load(shop, [*rows_of(25), row(" ", "a")])
    assert undo_load(shop, run) == Undone(25, 1, 0, 0)
    assert (count(shop), count(shop, "event_keys"), count(shop, "quarantine")) == (0, 0, 0)
    with pytest.raises(LoadError, match="undone already"):
        undo_load(shop, run)
    load(shop, rows_of(25))
    assert count(shop) == 25


def test_events_that_a_later_load_also_had_stay_until_both_are_undone(shop: Engine) -> None:
    first = load(shop, rows_of(25))
    second = load(shop, rows_of(25, start=15))
    assert read_load(shop, second).counts["existing"] == 10
    assert undo_load(shop, first).events == 15
    assert count(shop) == 25
    assert undo_load(shop, second).events == 25
    assert count(shop) == count(shop, "load_claims") == 0


def test_two_loads_at_once_store_each_event_once(shop: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: load(shop, rows_of(200)), range(2)))
    counts = [read_load(shop, run).counts for run in runs]
    assert sum(each["stored"] for each in counts) == sum(each["existing"] for each in counts) == 200
    assert count(shop) == count(shop, "event_keys") == 200


@pytest.mark.parametrize("change", ["erased", "withdrawn"])
def test_users_erased_between_judging_and_loading_are_not_stored(shop: Engine, change: str) -> None:
    connection, verdicts = judged(shop, [*rows_of(20), row("u4", "z")])
    with shop.begin() as store:
        if change == "erased":
            forget(store, PRIVACY, "u4")
        else:
            set_consent(store, PRIVACY, ["u4"], False)
    run = begin_load(shop, "test", "d")
    counts = load_events(connection, shop, SETTINGS, run, verdicts)
    assert (counts["stored"], counts["refused"]) == (18, 2)
    assert stored(shop, "SELECT count(*) FROM events WHERE user_id = 'u4'") == [(0,)]
    assert stored(shop, 'SELECT DISTINCT "row" FROM quarantine') == [({},)]


def test_erased_users_are_refused_when_rows_are_judged_and_an_undo_leaves_that_so(shop: Engine) -> None:
    run = load(shop, rows_of(10))
    with shop.begin() as store:
        forget(store, PRIVACY, "u4")
    assert undo_load(shop, run).events == 9
    _, verdicts = judged(shop, rows_of(10))
    assert verdicts.rejected == {"forgotten_user": 1}


def test_a_row_that_the_database_refuses_keeps_no_other_out(shop: Engine) -> None:
    with shop.begin() as connection:
        connection.execute(text("ALTER TABLE events ADD CONSTRAINT shut CHECK (user_id <> 'u3') NOT VALID"))
    try:
        run = load(shop, rows_of(20))
    finally:
        with shop.begin() as connection:
            connection.execute(text("ALTER TABLE events DROP CONSTRAINT shut"))
    assert read_load(shop, run).counts["stored"] == 18 and count(shop) == count(shop, "event_keys") == 18
    assert [reason[:10] for (reason,) in stored(shop, "SELECT reason FROM quarantine")] == ["unstorable"] * 2
