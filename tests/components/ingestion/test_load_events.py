"""Loading in chunks: resumed, undone, killed, at once, and beside erasures."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import Engine, text

from components.datasets.opened_files import OpenedFiles
from components.files.table import Table
from components.ingestion import store_events as storing
from components.ingestion.clean import clean_events
from components.ingestion.load_files import JudgedFiles, LoadReport, judge_files, load_files
from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.settings import EventSettings, Settings
from components.store import event_chunks
from components.store.consent import set_consent
from components.store.engine import make_engine
from components.store.erasure import forget
from components.store.load import append_events
from components.store.loads import LoadError, list_loads, read_load
from components.store.privacy import Privacy
from components.store.undo import Undone, undo_load
from tests.components.ingestion.test_judge_events import TEXT_COLUMNS, Row, row
from tests.components.ingestion.test_judge_events import database as input_of
from tests.support.raw_events import NOW

SETTINGS = Settings(events=EventSettings(earliest=date(1970, 1, 1)))
PRIVACY = Privacy(SETTINGS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "CHUNK_SIZE", 10)


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


def opened(name: str = "d") -> OpenedFiles:
    """Files whose loads are the same if the name is."""
    table = Table("events", (), "csv", (), True, 0)
    fields = {column: ColumnRule(column) for column in (*TEXT_COLUMNS, "timestamp")}
    return OpenedFiles({"events": Path("e.csv")}, {"events": table}, Mapping(RoleMapping(fields), None, name), {}, True)


def judged(engine: Engine, rows: Sequence[Row]) -> tuple[duckdb.DuckDBPyConnection, JudgedFiles]:
    connection = input_of(rows)
    connection.unregister("known_items")
    connection.execute("CREATE VIEW items_in AS SELECT 0 AS row, '' AS raw, '' AS item_id WHERE false")
    return connection, judge_files(connection, opened(), SETTINGS, source="test", now=NOW, engine=engine)


def load(engine: Engine, rows: Sequence[Row], name: str = "d") -> LoadReport:
    connection, verdicts = judged(engine, rows)
    with connection:
        return load_files(connection, opened(name), verdicts, engine, SETTINGS, source="test")


def stored(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(each) for each in connection.execute(text(query))]


def count(engine: Engine, table: str = "events") -> int:
    [(number,)] = stored(engine, f"SELECT count(*) FROM {table}")
    return int(number)


COLUMNS = "event_id, user_id, item_id, event, value, text, occurred_at, source"


def test_what_is_stored_is_what_rows_one_by_one_give(shop: Engine) -> None:
    rows = [*rows_of(45), row("u\\1", "a", 3.25, "rating", value="4.5", text="so \\ so"), row("u", "z"), row(" ", "a")]
    report = load(shop, rows)
    in_chunks = stored(shop, f"SELECT {COLUMNS} FROM events ORDER BY received_at")
    rejected = {"missing_user_id": 1, "unknown_item": 1}
    assert report == LoadReport(report.load_id, 46, 0, rejected, 0, 0)
    run = read_load(shop, report.load_id)
    assert (run.state, run.counts["accepted"], run.counts["rejected"]) == ("complete", 46, rejected)
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

    monkeypatch.setattr(storing, "store_chunk", fail_late)
    with pytest.raises(RuntimeError, match="power"):
        load(shop, rows_of(45))
    [stopped] = list_loads(shop)
    assert stopped.state == "stopped" and 0 < count(shop) < 45
    monkeypatch.setattr(storing, "store_chunk", store_chunk)
    report = load(shop, rows_of(45))
    assert (report.load_id, report.accepted, report.duplicates, report.resumed) == (stopped.load_id, 45, 0, True)
    assert count(shop) == count(shop, "event_keys") == 45
    again = load(shop, rows_of(45))
    assert (again.accepted, again.duplicates, again.resumed) == (0, 45, False)
    assert again.load_id != stopped.load_id


def _load_and_die(url: str) -> None:
    """Loads, and is killed in the middle of the transaction of the third chunk."""
    copy_all = event_chunks._copy_all
    done: list[int] = []

    def die(*arguments: Any) -> bool:
        result = copy_all(*arguments)
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(event_chunks, "_copy_all", die)  # noqa: B010
    storing.CHUNK_SIZE, storing.WORKERS = 10, 1
    load(make_engine(url), rows_of(45))


def test_a_killed_load_is_resumed_without_loss_or_repetition(shop: Engine, database: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_load_and_die, args=(database,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    [run] = list_loads(shop)
    assert run.state == "running" and count(shop) == count(shop, "event_keys") == 20
    report = load(shop, rows_of(45))
    assert (report.load_id, report.accepted, report.resumed) == (run.load_id, 45, True)
    assert count(shop) == count(shop, "event_keys") == 45


def test_an_undo_removes_what_the_load_stored(shop: Engine) -> None:
    run = load(shop, [*rows_of(25), row(" ", "a")]).load_id
    assert undo_load(shop, run) == Undone(25, 1, 0, 0)
    assert (count(shop), count(shop, "event_keys"), count(shop, "quarantine")) == (0, 0, 0)
    with pytest.raises(LoadError, match="undone already"):
        undo_load(shop, run)
    load(shop, rows_of(25))
    assert count(shop) == 25


def test_events_that_a_later_load_also_had_stay_until_both_are_undone(shop: Engine) -> None:
    first = load(shop, rows_of(25))
    second = load(shop, rows_of(25, start=15), "other")
    assert second.duplicates == 10
    assert undo_load(shop, first.load_id).events == 15
    assert count(shop) == 25
    assert undo_load(shop, second.load_id).events == 25
    assert count(shop) == count(shop, "load_claims") == 0


def test_two_loads_at_once_store_each_event_once(shop: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda name: load(shop, rows_of(200), name), ["one", "other"]))
    assert sum(each.accepted for each in reports) == sum(each.duplicates for each in reports) == 200
    assert count(shop) == count(shop, "event_keys") == 200


@pytest.mark.parametrize("change", ["erased", "withdrawn"])
def test_users_erased_between_judging_and_loading_are_not_stored(shop: Engine, change: str) -> None:
    connection, verdicts = judged(shop, [*rows_of(20), row("u4", "z")])
    with shop.begin() as store:
        if change == "erased":
            forget(store, PRIVACY, "u4")
        else:
            set_consent(store, PRIVACY, ["u4"], False)
    report = load_files(connection, opened(), verdicts, shop, SETTINGS, source="test")
    assert (report.accepted, report.rejected) == (18, {"refused": 2, "unknown_item": 1})
    assert stored(shop, "SELECT count(*) FROM events WHERE user_id = 'u4'") == [(0,)]
    assert stored(shop, 'SELECT DISTINCT "row" FROM quarantine') == [({},)]


def test_erased_users_are_refused_when_rows_are_judged_and_an_undo_leaves_that_so(shop: Engine) -> None:
    run = load(shop, rows_of(10)).load_id
    with shop.begin() as store:
        forget(store, PRIVACY, "u4")
    assert undo_load(shop, run).events == 9
    _, verdicts = judged(shop, rows_of(10))
    assert verdicts.rejected == {"forgotten_user": 1}


def test_a_row_that_the_database_refuses_keeps_no_other_out(shop: Engine) -> None:
    with shop.begin() as connection:
        connection.execute(text("ALTER TABLE events ADD CONSTRAINT shut CHECK (user_id <> 'u3') NOT VALID"))
    try:
        report = load(shop, rows_of(20))
    finally:
        with shop.begin() as connection:
            connection.execute(text("ALTER TABLE events DROP CONSTRAINT shut"))
    assert (report.accepted, report.rejected) == (18, {"refused": 2})
    assert count(shop) == count(shop, "event_keys") == 18
    assert [reason[:10] for (reason,) in stored(shop, "SELECT reason FROM quarantine")] == ["unstorable"] * 2
