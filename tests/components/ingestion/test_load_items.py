"""Loading items: partial columns, duplicates over batches, undo."""

import json
from typing import Any

import duckdb
import pytest
from components.ingestion.load_items import load_items
from sqlalchemy import Engine, text

from components.ingestion import load_items as loading
from components.ingestion.clean import clean_items
from components.store.loads import LoadRun, begin_load
from components.store.undo import Undone, undo_load

FULL = (
    "SELECT 'a' AS item_id, ' A &amp;amp; B ' AS title, ['x|y', 'z'] AS category, 'no' AS available,"
    " 1e9 AS published_at"
)


def load(store: Engine, *selects: str) -> tuple[LoadRun, dict[str, Any]]:
    """Loads the rows of these SELECTs."""
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM ({each})" for each in selects)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS {union}")
        connection.execute(
            "CREATE VIEW items_in AS SELECT *, row_number() OVER () - 1 AS row, to_json(rows) AS raw FROM rows"
        )
        run = begin_load(store, "test", "d")
        return run, load_items(connection, store, run)


def rows(store: Engine, query: str) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return [tuple(each) for each in connection.execute(text(query))]


CONTENT = "SELECT title, category, available, extract(epoch FROM published_at)::int, content_hash FROM items"


def test_items_are_stored_as_clean_items_makes_them(store: Engine) -> None:
    _, counts = load(store, FULL)
    [item] = clean_items(
        [
            {
                "item_id": "a",
                "title": " A &amp;amp; B ",
                "category": ["x|y", "z"],
                "available": "no",
                "published_at": 1e9,
            }
        ],
        source="test",
    ).rows
    assert counts == {"added": 1, "updated": 0, "rejected": {}}
    assert rows(store, CONTENT) == [("A &amp; B", ["x", "y", "z"], False, 1_000_000_000, item.content_hash)]


def test_only_the_columns_of_the_file_change(store: Engine) -> None:
    load(store, FULL)
    _, counts = load(store, "SELECT 'a' AS item_id, 'yes' AS available")
    assert counts == {"added": 0, "updated": 1, "rejected": {}}
    assert rows(store, CONTENT)[0][:4] == ("A &amp; B", ["x", "y", "z"], True, 1_000_000_000)
    assert load(store, "SELECT 'a' AS item_id")[1] == {"added": 0, "updated": 0, "rejected": {}}
    _, counts = load(store, "SELECT 'a' AS item_id, 'no' AS available")
    assert counts["updated"] == 1
    assert load(store, FULL)[1]["updated"] == 0, "the hash is that of the whole item"


def test_rejected_items_are_quarantined_and_duplicates_found_over_batches(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH_SIZE", 1)
    _, counts = load(
        store,
        "SELECT 'a' AS item_id, 'first' AS title, NULL AS reject, 1 AS colour",
        "SELECT ' a' AS item_id, 'second' AS title",
        "SELECT 'b' AS item_id, 'nested: no text' AS reject",
    )
    assert counts == {"added": 1, "updated": 0, "rejected": {"duplicate_item": 1, "nested": 1}}
    assert rows(store, "SELECT title FROM items") == [("first",)]
    quarantined = rows(store, "SELECT reason, \"row\" ->> 'title' FROM quarantine ORDER BY reason DESC")
    assert quarantined == [("nested: no text", None), (quarantined[1][0], "second")]
    assert json.loads(json.dumps(rows(store, "SELECT \"row\" ? 'colour' FROM quarantine"))) == [[True], [True]]


def test_an_undo_restores_what_items_were(store: Engine) -> None:
    first, _ = load(store, FULL)
    before = rows(store, CONTENT)
    second, _ = load(store, "SELECT 'a' AS item_id, 'New' AS title", "SELECT 'b' AS item_id, 'B' AS title")
    assert undo_load(store, second.load_id) == Undone(0, 0, 1, 1)
    assert rows(store, CONTENT) == before
    assert undo_load(store, first.load_id) == Undone(0, 0, 1, 0)
    assert rows(store, CONTENT) == []


def test_items_that_a_later_load_also_had_stay_until_both_are_undone(store: Engine) -> None:
    first, _ = load(store, FULL)
    second, _ = load(store, "SELECT 'a' AS item_id, 'New' AS title")
    assert undo_load(store, first.load_id) == Undone(0, 0, 0, 0)
    assert rows(store, "SELECT title FROM items") == [("New",)]
    assert undo_load(store, second.load_id) == Undone(0, 0, 1, 0)
