"""Judges all items of a file before any is stored, by the rules of `clean_items`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from components.core.columns import Columns
from components.core.normalize import json_safe
from components.datasets.opened_files import ITEMS_IN
from components.ingestion.clean import clean_items, duplicate_item
from components.ingestion.tables import counts_by_code, create_table, insert_rows, view_columns, with_raw
from components.store.rows import ItemRow

BATCH_SIZE = 20_000
_RAW_TIME, _REJECT = f"raw_{Columns.PUBLISHED_AT}", "reject"
_GOOD = pa.schema(
    [
        ("arrival", pa.int64()),
        ("row", pa.int64()),
        ("raw", pa.string()),
        (Columns.ITEM, pa.string()),
        (Columns.TITLE, pa.string()),
        (Columns.DESCRIPTION, pa.string()),
        (Columns.CATEGORY, pa.list_(pa.string())),
        (Columns.AVAILABLE, pa.bool_()),
        (Columns.PUBLISHED_AT, pa.timestamp("us", "UTC")),
        (Columns.IMAGE, pa.string()),
        (Columns.CREATOR, pa.string()),
        (Columns.ATTRIBUTES, pa.string()),
        (Columns.CONTENT_HASH, pa.string()),
    ]
)
_REJECTED = pa.schema([("arrival", pa.int64()), ("row", pa.int64()), ("raw", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class ItemVerdicts:
    """How many items were accepted, and rejected by error code.

    Attributes:
        columns: The columns that the file has; an update changes no others, and adds attributes.
    """

    accepted: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    columns: Sequence[str] = (Columns.ITEM,)


def judge_items(connection: DuckDBPyConnection, *, source: str) -> ItemVerdicts:
    """Judges the rows of the view `items_in`; of several items with one id the first counts.

    Creates the tables `good_items` (the columns of ItemRow with the attributes as JSON, and arrival) and
    `rejected_items`.

    Args:
        connection: With the view `items_in`: row, raw, item_id and any of title, description, category, available,
            published_at (its text in raw_published_at), image_uri, creator_id, attributes (a struct); reject, a reason
            known before.
    """
    create_table(connection, "good_items", _GOOD)
    create_table(connection, "rejected_items", _REJECTED)
    columns = view_columns(connection, ITEMS_IN)
    present = [name for name in ItemRow._fields if name in columns]
    others = [name for name in (_RAW_TIME, _REJECT) if name in columns]
    found = connection.cursor().execute(
        f"SELECT row, CAST(to_json(raw) AS VARCHAR), {', '.join(present + others)} FROM {ITEMS_IN} ORDER BY row"
    )
    names = ("row", "raw", *present, *others)
    arrival = 0
    while batch := found.fetchmany(BATCH_SIZE):
        _judge_batch(connection, [dict(zip(names, row, strict=True)) for row in batch], arrival, source)
        arrival += len(batch)
    _reject_duplicates(connection)
    [(accepted,)] = connection.execute("SELECT count(*) FROM good_items").fetchall()
    given = [name for name in present if name != Columns.ATTRIBUTES]
    return ItemVerdicts(accepted, counts_by_code(connection, "rejected_items"), given)


def _judge_batch(connection: DuckDBPyConnection, batch: list[dict[str, Any]], first: int, source: str) -> None:
    origins, faults = [], {}
    rejected: list[tuple[int, int, str, str]] = []
    for index, row in enumerate(batch):
        number, raw, raw_time, reject = (row.pop(name, None) for name in ("row", "raw", _RAW_TIME, _REJECT))
        if row.get(Columns.PUBLISHED_AT) is None and raw_time is not None:
            row[Columns.PUBLISHED_AT] = raw_time
        if reject:
            faults[index] = reject
        origins.append((first + index, number, raw))
    cleaned = clean_items(batch, source=source, faults=faults)
    refused = {entry.index for entry in cleaned.rejected}
    for entry in cleaned.rejected:
        arrival, number, raw = origins[entry.index]
        rejected.append((arrival, number, _kept(entry.row, raw), entry.reason))
    accepted = (origin for index, origin in enumerate(origins) if index not in refused)
    good = [
        (*origin, *item[:-2], json.dumps(item.attributes), item.content_hash)
        for origin, item in zip(accepted, cleaned.rows, strict=True)
    ]
    insert_rows(connection, "good_items", _GOOD, good)
    insert_rows(connection, "rejected_items", _REJECTED, rejected)


def _reject_duplicates(connection: DuckDBPyConnection) -> None:
    """Rejects the items whose id an item of an earlier batch has."""
    later = (
        "SELECT arrival, row, item_id, raw FROM good_items ANTI JOIN"
        " (SELECT min(arrival) AS arrival FROM good_items GROUP BY item_id) AS firsts USING (arrival) ORDER BY arrival"
    )
    found = connection.cursor().execute(later)
    while batch := found.fetchmany(BATCH_SIZE):
        rows = [
            (arrival, number, _kept({Columns.ITEM: item}, raw), duplicate_item(item))
            for arrival, number, item, raw in batch
        ]
        insert_rows(connection, "rejected_items", _REJECTED, rows)
    connection.execute("DELETE FROM good_items WHERE arrival IN (SELECT arrival FROM rejected_items)")


def _kept(row: Mapping[str, Any], raw: str | None) -> str:
    """A rejected row as JSON for quarantine."""
    return json.dumps(json_safe(row) if raw is None else with_raw(row, raw))
