"""Loads items in batches; only the columns that the input has change."""

import json
from collections.abc import Sequence
from typing import Any

from duckdb import DuckDBPyConnection
from sqlalchemy import Connection, Engine, select, text

from components.core.columns import Columns
from components.core.normalize import json_safe
from components.ingestion.clean import clean_items, with_stored_columns
from components.store.bulk import text_array
from components.store.db_errors import rejected_row
from components.store.load import quarantine_all, upsert_valid_items
from components.store.loads import LoadRun
from components.store.rows import ItemRow, Rejected
from components.store.schema import Item

BATCH_SIZE = 20_000
"""Items per transaction."""
_JOURNAL = text(
    "INSERT INTO load_items (item_id, load_id, content_hash, before) SELECT given.item_id, :load, given.hash,"
    " to_jsonb(items) FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS text[])) AS given (item_id, hash)"
    " LEFT JOIN items USING (item_id) ORDER BY 1"
    " ON CONFLICT (item_id, load_id) DO UPDATE SET content_hash = excluded.content_hash"
)


def load_items(connection: DuckDBPyConnection, engine: Engine, load: LoadRun) -> dict[str, Any]:
    """Stores the items of the view `items_in` by the rules of `clean_items`; may be repeated to resume a load.

    Columns that the view does not have keep their stored values. Rejected rows go to quarantine.

    Args:
        connection: With the view `items_in`: row, raw, item_id and any of title, description, category, available,
            published_at (its text in raw_published_at), image_uri; reject, a reason known before.

    Returns:
        The numbers of `added` and `updated` items, and of `rejected` ones by error code.

    Raises:
        StoreError: Postgres cannot be used; the load can be resumed.
    """
    columns = [str(name) for name, *_ in connection.execute("DESCRIBE items_in").fetchall()]
    present = [name for name in ItemRow._fields if name in columns]
    others: list[str] = [name for name in ("raw_published_at", "reject") if name in columns]
    found = connection.cursor().execute(f"SELECT raw, {', '.join(present + others)} FROM items_in ORDER BY row")
    counts: dict[str, Any] = {"added": 0, "updated": 0, "rejected": {}}
    seen: set[str] = set()
    while batch := found.fetchmany(BATCH_SIZE):
        rows = [dict(zip(("raw", *present, *others), values, strict=True)) for values in batch]
        with engine.begin() as store:
            added, updated, rejected = _store(store, load, rows, present, seen)
            quarantine_all(store, load.source, rejected, load.load_id)
        counts["added"] += added
        counts["updated"] += updated
        for entry in rejected:
            code = entry.reason.split(":", 1)[0]
            counts["rejected"][code] = counts["rejected"].get(code, 0) + 1
    return counts


def _store(
    connection: Connection, load: LoadRun, rows: Sequence[dict[str, Any]], present: Sequence[str], seen: set[str]
) -> tuple[int, int, list[Rejected]]:
    rejected, accepted = [], []
    for row in rows:
        raw_time, reject = row.pop("raw_published_at", None), row.pop("reject", None)
        if row.get(Columns.PUBLISHED_AT) is None and raw_time is not None:
            row[Columns.PUBLISHED_AT] = raw_time
        if reject:
            rejected.append(Rejected(-1, _kept(row), reject))
        else:
            accepted.append(row)
    raws = [row.pop("raw") for row in accepted]
    cleaned = clean_items(accepted, source=load.source, seen=seen)
    rejected += [
        Rejected(entry.index, _kept({**entry.row, "raw": raws[entry.index]}), entry.reason)
        for entry in cleaned.rejected
    ]
    columns = [getattr(Item, name) for name in ItemRow._fields]
    ids = [item.item_id for item in cleaned.rows]
    stored = select(*columns).where(Item.item_id.in_(ids)).order_by(Item.item_id).with_for_update()
    known = {row.item_id: ItemRow(*row) for row in connection.execute(stored)}
    items = [
        with_stored_columns(item, known[item.item_id], present) if item.item_id in known else item
        for item in cleaned.rows
    ]
    hashes = [item.content_hash for item in items]
    connection.execute(_JOURNAL, {"load": load.load_id, "ids": text_array(ids), "hashes": text_array(hashes)})
    added, updated, refused = upsert_valid_items(connection, items)
    return added, updated, [*rejected, *(rejected_row(*entry) for entry in refused)]


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """A rejected row for quarantine, with the other columns of the file."""
    raw = row.pop("raw", None)
    others = json.loads(raw) if raw is not None else {}
    return json_safe({**row, **{name: value for name, value in others.items() if name not in row}})
