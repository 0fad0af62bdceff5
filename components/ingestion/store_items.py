"""Stores judged items in batches; only the columns that the file has change."""

from collections.abc import Callable, Sequence

from duckdb import DuckDBPyConnection
from sqlalchemy import Connection, Engine, select, text

from components.ingestion.clean import with_stored_columns
from components.store.bulk import text_array
from components.store.db_errors import rejected_row
from components.store.load import quarantine_all, upsert_valid_items
from components.store.loads import LoadRun
from components.store.rows import ItemRow
from components.store.schema import Item

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
            result = _store(store, load, [ItemRow(*row) for row in batch], columns, replace)
        for name, number in zip(counts, result, strict=True):
            counts[name] += number
        advance(len(batch))
    return counts


def _store(
    connection: Connection, load: LoadRun, items: Sequence[ItemRow], present: Sequence[str], replace: bool
) -> tuple[int, int, int]:
    columns = [getattr(Item, name) for name in ItemRow._fields]
    ids = [item.item_id for item in items]
    stored = select(*columns).where(Item.item_id.in_(ids)).order_by(Item.item_id).with_for_update()
    known = {row.item_id: ItemRow(*row) for row in connection.execute(stored)}
    if not replace:
        items = [item for item in items if item.item_id not in known]
    merged = [
        with_stored_columns(item, known[item.item_id], present) if item.item_id in known else item for item in items
    ]
    hashes = text_array([item.content_hash for item in merged])
    ids = [item.item_id for item in merged]
    connection.execute(_JOURNAL, {"load": load.load_id, "ids": text_array(ids), "hashes": hashes})
    added, updated, refused = upsert_valid_items(connection, merged)
    quarantine_all(connection, load.source, [rejected_row(*entry) for entry in refused], load.load_id)
    return added, updated, len(refused)
