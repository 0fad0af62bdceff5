"""Cleaned rows to Postgres, rejected ones to quarantine, once each however often they come."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, text

from components.store.arrays import number_array, text_array, time_array
from components.store.bulk import copy_rows
from components.store.partitions import ensure_partitions
from components.store.rows import EventRow, ItemRow, Rejected

AT_ONCE = 20_000
"""Events in one statement."""
_TYPES = {"value": "float8", "occurred_at": "float8"}
_ARRAYS: dict[str, Callable[[Any], str | None]] = {"value": number_array, "occurred_at": time_array}
_EVENTS = ", ".join(EventRow._fields)
_GIVEN = _EVENTS.replace("occurred_at", "to_timestamp(occurred_at) AS occurred_at")
_INCOMING = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in EventRow._fields)
_APPEND = text(
    "WITH incoming AS MATERIALIZED"
    f" (SELECT {_GIVEN}, arrival FROM unnest({_INCOMING}, CAST(:arrival AS bigint[])) AS given ({_EVENTS}, arrival)),"
    " people AS (INSERT INTO users (user_id)"
    " SELECT DISTINCT user_id FROM incoming"
    " WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = incoming.user_id) ORDER BY 1 ON CONFLICT DO NOTHING),"
    " fresh AS (INSERT INTO event_keys (event_id, occurred_at)"
    " SELECT event_id, occurred_at FROM incoming ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id),"
    f" stored AS (INSERT INTO events ({_EVENTS}, received_at)"
    f" SELECT {_EVENTS}, now() + arrival * interval '1 microsecond' FROM incoming JOIN fresh USING (event_id))"
    " SELECT event_id FROM incoming WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.event_id = incoming.event_id)"
)
_ITEMS = ", ".join(ItemRow._fields)
_CHANGED = ", ".join(f"{name} = EXCLUDED.{name}" for name in ItemRow._fields if name != "item_id")
_QUARANTINE = text(
    'INSERT INTO quarantine (source, "row", reason)'
    ' SELECT :source, i."row", i.reason'
    ' FROM unnest(CAST(:rows AS jsonb[]), CAST(:reasons AS text[])) AS i ("row", reason)'
    ' WHERE NOT EXISTS (SELECT FROM quarantine q'
    ' WHERE q.source = :source AND q."row" = i."row" AND q.reason = i.reason)'
)  # fmt: skip


def append_events(connection: Connection, rows: Sequence[EventRow]) -> set[str]:
    """Stores events (event_id unique among them) and the users they name; the event_ids that were there before.

    received_at grows by a microsecond a row, so that it keeps the order of arrival among events of one time.
    """
    if not rows:
        return set()
    ensure_partitions(connection, (row.occurred_at for row in rows))
    arrived = sorted(enumerate(rows), key=lambda one: one[1].event_id)  # one order for all writers: no deadlock
    known: set[str] = set()
    for batch in _batches(arrived):
        arrival, events = zip(*batch, strict=True)
        columns = zip(EventRow._fields, zip(*events, strict=True), strict=True)
        arrays = {name: _ARRAYS.get(name, text_array)(values) for name, values in columns}
        known.update(connection.scalars(_APPEND, arrays | {"arrival": number_array(arrival)}))
    return known


def upsert_items(connection: Connection, rows: Sequence[ItemRow], *, replace: bool = True) -> tuple[int, int]:
    """Stores items: how many were new, how many changed.

    Without `replace` known ones stay as they are.
    """
    if not rows:
        return 0, 0
    staged = (
        f"CREATE TEMP TABLE IF NOT EXISTS incoming_items ON COMMIT DELETE ROWS AS SELECT {_ITEMS} FROM items LIMIT 0"
    )
    connection.execute(text(staged))
    connection.execute(text("TRUNCATE incoming_items"))
    copy_rows(connection, "incoming_items", ItemRow._fields, rows)
    update = f"UPDATE SET {_CHANGED}, updated_at = now() WHERE items.content_hash <> EXCLUDED.content_hash"
    added = connection.scalars(
        text(
            f"INSERT INTO items ({_ITEMS}) SELECT {_ITEMS} FROM incoming_items ORDER BY item_id"
            f" ON CONFLICT (item_id) DO {update if replace else 'NOTHING'} RETURNING xmax = 0"
        )
    ).all()  # xmax is 0 in a row that no earlier version precedes
    return sum(added), len(added) - sum(added)


def quarantine(connection: Connection, source: str, rejected: Sequence[Rejected]) -> None:
    """Keeps rejected rows whole; one that this source brought before is not kept again."""
    if not rejected:
        return
    rows, reasons = [json.dumps(one.row) for one in rejected], [one.reason for one in rejected]
    connection.execute(_QUARANTINE, {"source": source, "rows": rows, "reasons": reasons})


def _batches(rows: Sequence[tuple[int, EventRow]]) -> Iterator[list[tuple[int, EventRow]]]:
    left = iter(rows)
    while batch := list(islice(left, AT_ONCE)):
        yield batch
