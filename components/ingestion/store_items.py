"""Stores judged items in batches; only the columns that the file has change."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from duckdb import DuckDBPyConnection
from sqlalchemy import Connection, Engine, text

from components.ingestion.item_columns import merge_with_stored
from components.store.bulk import text_array
from components.store.db_errors import rejected_row
from components.store.load import quarantine_all, upsert_valid_items
from components.store.loads import LoadRun
from components.store.rows import ItemRow

BATCH_SIZE = 20_000
"""Items per transaction."""
_JOURNAL = text(
    "INSERT INTO load_items (item_id, load_id, content_hash, before) SELECT given.item_id, :load, given.hash,"
    " to_jsonb(items) FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS text[])) AS given (item_id, hash)"
    " LEFT JOIN items USING (item_id) ORDER BY 1"
    " ON CONFLICT (item_id, load_id) DO UPDATE SET content_hash = excluded.content_hash"
)


def store_items(
    connection: DuckDBPyConnection,
    engine: Engine,
    load: LoadRun,
    columns: Sequence[str],
    advance: Callable[[int], None],
    *,
    replace: bool = True,
) -> dict[str, int]:
    """Stores the table `good_items`; may be repeated to resume a load.

    Args:
        connection: After `judge_items`.
        columns: Those that the file has; stored items keep the values of the others.
        advance: Called with the number of items of each batch.
        replace: Whether existing items change at all.

    Returns:
        The numbers of `items_added`, `items_updated` and `items_refused` by the database.

    Raises:
        StoreError: Postgres cannot be used; the load can be resumed.
    """
    names = ", ".join(ItemRow._fields)
    found = connection.cursor().execute(f"SELECT {names} FROM good_items ORDER BY item_id")
    counts = dict.fromkeys(("items_added", "items_updated", "items_refused"), 0)
    while batch := found.fetchmany(BATCH_SIZE):
        with engine.begin() as store:
            result = _store(store, load, list(map(_item, batch)), columns, replace)
        for name, number in zip(counts, result, strict=True):
            counts[name] += number
        advance(len(batch))
    return counts


def _store(
    connection: Connection, load: LoadRun, items: Sequence[ItemRow], present: Sequence[str], replace: bool
) -> tuple[int, int, int]:
    merged = merge_with_stored(connection, items, [present] * len(items))
    rows = [item for item in merged.rows if replace or item.item_id not in merged.known]
    hashes, ids = text_array([item.content_hash for item in rows]), text_array([item.item_id for item in rows])
    connection.execute(_JOURNAL, {"load": load.load_id, "ids": ids, "hashes": hashes})
    added, updated, unstorable = upsert_valid_items(connection, rows)
    refused = [*merged.refused, *(rejected_row(*entry) for entry in unstorable)]
    quarantine_all(connection, load.source, refused, load.load_id)
    return added, updated, len(refused)


def _item(row: Sequence[Any]) -> ItemRow:
    """A row of `good_items`."""
    return ItemRow._make((*row[:-2], json.loads(row[-2]), row[-1]))
