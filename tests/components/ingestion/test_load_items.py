"""Loading items: partial columns, duplicates over batches, undo."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import Engine, text

from components.datasets.opened_files import OpenedFiles
from components.files.table import Table
from components.ingestion import judge_items as judging
from components.ingestion.clean import clean_items
from components.ingestion.load_files import LoadReport, judge_files, load_files
from components.mapping.rules import Mapping, RoleMapping
from components.settings import Settings
from components.store.undo import Undone, undo_load
from tests.support.raw_events import NOW

FULL = (
    "SELECT 'a' AS item_id, ' A &amp;amp; B ' AS title, ['x|y', 'z'] AS category, 'no' AS available,"
    " 1e9 AS published_at"
)


def load(store: Engine, *selects: str) -> LoadReport:
    """Loads the rows of these SELECTs."""
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM ({each})" for each in selects)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS {union}")
        connection.execute(
            "CREATE VIEW items_in AS SELECT *, row_number() OVER () - 1 AS row, to_json(rows) AS raw FROM rows"
        )
        table = Table("items", (), "csv", (), True, 0)
        opened = OpenedFiles(
            {"items": Path("i.csv")}, {"items": table}, Mapping(None, RoleMapping({}), " ".join(selects))
        )
        judged = judge_files(connection, opened, Settings(), source="test", now=NOW, engine=store)
        return load_files(connection, opened, judged, store, Settings(), source="test")


def changes(report: LoadReport) -> tuple[int, int, dict[str, int]]:
    """The numbers of added, updated and rejected items."""
    return report.items_added, report.items_updated, dict(report.rejected)


def rows(store: Engine, query: str) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return [tuple(each) for each in connection.execute(text(query))]


CONTENT = "SELECT title, category, available, extract(epoch FROM published_at)::int, content_hash FROM items"


def test_items_are_stored_as_clean_items_makes_them(store: Engine) -> None:
    counts = changes(load(store, FULL))
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
    assert counts == (1, 0, {})
    assert rows(store, CONTENT) == [("A &amp; B", ["x", "y", "z"], False, 1_000_000_000, item.content_hash)]


def test_only_the_columns_of_the_file_change(store: Engine) -> None:
    load(store, FULL)
    assert changes(load(store, "SELECT 'a' AS item_id, 'yes' AS available")) == (0, 1, {})
    assert rows(store, CONTENT)[0][:4] == ("A &amp; B", ["x", "y", "z"], True, 1_000_000_000)
    assert changes(load(store, "SELECT 'a' AS item_id")) == (0, 0, {})
    assert changes(load(store, "SELECT 'a' AS item_id, 'no' AS available")) == (0, 1, {})
    assert load(store, FULL).items_updated == 0, "the hash is that of the whole item"


def test_rejected_items_are_quarantined_and_duplicates_found_over_batches(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BATCH_SIZE", 1)
    report = load(
        store,
        "SELECT 'a' AS item_id, 'first' AS title, NULL AS reject, 1 AS colour",
        "SELECT ' a' AS item_id, 'second' AS title",
        "SELECT 'b' AS item_id, 'nested: no text' AS reject",
    )
    assert changes(report) == (1, 0, {"duplicate_item": 1, "nested": 1})
    assert rows(store, "SELECT title FROM items") == [("first",)]
    quarantined = rows(store, "SELECT reason, \"row\" ->> 'title' FROM quarantine ORDER BY reason DESC")
    assert quarantined == [("nested: no text", None), (quarantined[1][0], "second")]
    assert json.loads(json.dumps(rows(store, "SELECT \"row\" ? 'colour' FROM quarantine"))) == [[True], [True]]


def test_an_undo_restores_what_items_were(store: Engine) -> None:
    first = load(store, FULL)
    before = rows(store, CONTENT)
    second = load(store, "SELECT 'a' AS item_id, 'New' AS title", "SELECT 'b' AS item_id, 'B' AS title")
    assert undo_load(store, second.load_id) == Undone(0, 0, 1, 1)
    assert rows(store, CONTENT) == before
    assert undo_load(store, first.load_id) == Undone(0, 0, 1, 0)
    assert rows(store, CONTENT) == []


def test_items_that_a_later_load_also_had_stay_until_both_are_undone(store: Engine) -> None:
    first = load(store, FULL)
    second = load(store, "SELECT 'a' AS item_id, 'New' AS title")
    assert undo_load(store, first.load_id) == Undone(0, 0, 0, 0)
    assert rows(store, "SELECT title FROM items") == [("New",)]
    assert undo_load(store, second.load_id) == Undone(0, 0, 1, 0)
