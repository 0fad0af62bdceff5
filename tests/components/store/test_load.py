"""Loading into a real Postgres."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from components.datasets.sources import Dataset
from components.settings import Settings
from components.store.bulk import copy_rows
from components.store.engine import StoreError
from components.store.partitions import ensure_partitions
from tests.support.loading import IngestReport, ingest
from tests.support.raw_events import NOW, raw_events, shop

EVENTS = raw_events(
    [("u", "a", 1_600_000_000, "view"), ("u", "b", 1_600_000_100, "like"), ("v", "a", 1_700_000_000, "hide")]
)


def load(store: Engine, dataset: Dataset, source: str = "test") -> IngestReport:
    return ingest(store, dataset, Settings(), source=source, now=NOW)


def rows(store: Engine, query: str) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_events_users_and_items_are_stored(store: Engine) -> None:
    assert load(store, shop(EVENTS)) == IngestReport(3, 0, {}, 2, 0)
    assert rows(store, "SELECT user_id, consent FROM users ORDER BY 1") == [("u", True), ("v", True)]
    assert rows(store, "SELECT item_id, title, category FROM items ORDER BY 1")[0] == ("a", "Title of a", ["a", "b"])
    stored = rows(
        store, "SELECT user_id, item_id, event, occurred_at, value, text, source FROM events ORDER BY occurred_at"
    )
    assert stored[1] == ("u", "b", "like", datetime.fromtimestamp(1_600_000_100, UTC), None, None, "test")


def test_the_same_dataset_twice_adds_nothing(store: Engine) -> None:
    bad = pd.concat([EVENTS, raw_events([("w", "a", "soon", "view")])], ignore_index=True)
    first = load(store, shop(bad))
    counts = (
        "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM quarantine), (SELECT count(*) FROM event_keys)"
    )
    before = rows(store, counts)
    assert (first.accepted, first.rejected) == (3, {"bad_timestamp": 1})
    assert load(store, shop(bad)) == IngestReport(0, 3, {"bad_timestamp": 1}, 0, 0)
    assert rows(store, counts) == before == [(3, 1, 3)]


def test_a_longer_file_adds_only_new_events(store: Engine) -> None:
    load(store, shop(EVENTS[:2]))
    report = load(store, shop(pd.concat([EVENTS, EVENTS])))
    assert (report.accepted, report.duplicates) == (1, 5)


def test_rejected_rows_are_stored_completely(store: Engine) -> None:
    load(store, shop(raw_events([("u\x00", "a", float("nan"), "view")], value=float("inf")), items=["a"]))
    [(source, row, reason)] = rows(store, 'SELECT source, "row", reason FROM quarantine')
    assert source == "test"
    assert row == {"user_id": "u\\u0000", "item_id": "a", "timestamp": None, "event": "view", "value": "inf"}
    assert reason.startswith("bad_user_id: ")


def test_an_unknown_item_is_rejected_until_it_is_loaded(store: Engine) -> None:
    assert load(store, shop(EVENTS, items=["a"])).rejected == {"unknown_item": 1}
    assert load(store, shop(EVENTS, items=["a", "b"])).accepted == 1


def test_only_changed_items_are_updated(store: Engine) -> None:
    dataset = shop(EVENTS)
    load(store, dataset)
    changed = dataset.items.assign(title=["New title", "Title of b"])
    report = load(store, Dataset("shop", EVENTS, changed))
    assert (report.items_added, report.items_updated) == (0, 1)
    assert rows(store, "SELECT title FROM items ORDER BY item_id") == [("New title",), ("Title of b",)]


def test_items_derived_from_events_do_not_update_existing_items(store: Engine) -> None:
    load(store, shop(EVENTS[:1]))
    report = load(store, Dataset("events only", EVENTS, pd.DataFrame({"item_id": ["a", "b"]})))
    assert (report.items_added, report.items_updated) == (1, 0)
    assert rows(store, "SELECT title FROM items ORDER BY item_id") == [("Title of a",), ("",)]


def test_a_description_outside_the_dataset_text_is_not_stored(store: Engine) -> None:
    dataset = shop(EVENTS)
    items = dataset.items.assign(description="tags from the future")
    load(store, Dataset("shop", EVENTS, items, ("title", "category")))
    assert rows(store, "SELECT DISTINCT description FROM items") == [("",)]


def test_a_description_in_the_dataset_text_is_stored(store: Engine) -> None:
    dataset = shop(EVENTS)
    load(store, Dataset("shop", EVENTS, dataset.items.assign(description="good")))
    assert rows(store, "SELECT DISTINCT description FROM items") == [("good",)]


def test_every_month_has_a_partition(store: Engine) -> None:
    load(store, shop(EVENTS))
    partitions = {name for (name,) in rows(store, "SELECT DISTINCT tableoid::regclass::text FROM events")}
    assert partitions == {"events_2020_09", "events_2023_11"}


def test_the_last_microsecond_of_a_year_goes_to_its_partition(store: Engine) -> None:
    load(store, shop(raw_events([("u", "a", "2021-12-31T23:59:59.999999", "view"), ("u", "a", "2022-01-01", "view")])))
    partitions = rows(store, "SELECT tableoid::regclass::text FROM events ORDER BY occurred_at")
    assert partitions == [("events_2021_12",), ("events_2022_01",)]


def test_concurrent_writers_create_each_partition_once(store: Engine) -> None:
    times = [datetime(1980 + year, month, 15, tzinfo=UTC) for year in range(3) for month in range(1, 13)]

    def make(_: int) -> None:
        ensure_partitions(store.begin, times)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert rows(
        store, "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r' AND relname LIKE 'events_198%'"
    ) == [(36,)]


def test_concurrent_loads_store_each_event_once(store: Engine) -> None:
    same = raw_events([("u", "a", 1_500_000_000 + 60 * n, "view") for n in range(2_000)])
    own = [raw_events([(f"v{n}", "a", 1_500_000_000, "view")]) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda events: load(store, shop(pd.concat([same, events]))), own))
    assert sum(report.accepted for report in reports) == 2_003
    assert rows(store, "SELECT count(*), count(DISTINCT event_id) FROM events") == [(2_003, 2_003)]


def test_a_failed_load_is_continued_by_the_next_call(store: Engine) -> None:
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE quarantine ADD CONSTRAINT shut CHECK (source <> 'shut') NOT VALID"))
    try:
        bad = pd.concat([EVENTS, raw_events([("w", "a", "soon", "view")])], ignore_index=True)
        with pytest.raises(Exception, match="shut"):
            load(store, shop(bad), source="shut")
    finally:
        with store.begin() as connection:
            connection.execute(text("ALTER TABLE quarantine DROP CONSTRAINT shut"))
    assert rows(store, "SELECT state FROM loads") == [("stopped",)]
    assert load(store, shop(bad), source="shut").rejected == {"bad_timestamp": 1}
    assert rows(store, "SELECT state, (SELECT count(*) FROM events) FROM loads") == [("complete", 3)]


def copy_users(store: Engine) -> None:
    with store.begin() as connection:
        copy_rows(connection, "users", ["user_id"], [("u",)])


@pytest.mark.parametrize("work", [copy_users, lambda store: load(store, shop(EVENTS))], ids=["copy", "load"])
def test_a_lost_connection_is_a_store_error(store: Engine, work: Callable[[Engine], object]) -> None:
    """The connection is terminated while the work waits for a lock."""
    with store.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        working = pool.submit(work, store)
        waiting = "SELECT pid FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"
        while (pid := other.scalar(text(waiting))) is None:
            assert not working.done()
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        other.rollback()
        with pytest.raises(StoreError, match="duotempo up"):
            working.result(30)
    assert rows(store, "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM users)") == [(0,)]


def test_a_refused_copy_is_a_store_error(store: Engine) -> None:
    with (
        store.connect() as other,
        pytest.raises(StoreError, match="lock timeout; try again"),
        store.begin() as connection,
    ):
        other.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
        copy_rows(connection, "users", ["user_id"], [("u",)])
