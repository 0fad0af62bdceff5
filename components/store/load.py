"""Idempotent writes of cleaned rows to Postgres, and of rejected rows to quarantine."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from components.core.normalize import json_safe
from components.store.bulk import copy_rows, number_array, text_array, time_array
from components.store.consent import (
    FORGOTTEN,
    LOCK_SPACE,
    NO_CONSENT,
    check_key,
    lock_buckets,
    lock_users,
    storable_ids,
)
from components.store.db_errors import store_bisecting, unstorable
from components.store.partitions import ensure_partitions, missing_months
from components.store.privacy import Privacy
from components.store.rows import EventRow, ItemRow, Rejected

BATCH_SIZE = 20_000
"""Most events per statement."""
_TYPES = {"value": "float8", "occurred_at": "float8", "arrival": "bigint"}
_ARRAYS: dict[str, Callable[[Any], str | None]] = {"value": number_array, "occurred_at": time_array}
EVENT_ARRAYS = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in (*EventRow._fields, "arrival"))
"""SQL parameters of the functions `append_events` and `take_in` (`functions/`); `event_arrays` builds them."""
_APPEND = text(f"SELECT append_events({EVENT_ARRAYS})")
_ITEMS = ", ".join(ItemRow._fields)
_CHANGED = ", ".join(f"{name} = EXCLUDED.{name}" for name in ItemRow._fields if name != "item_id")
_QUARANTINE = text(
    'INSERT INTO quarantine (source, "row", reason, load_id)'
    ' SELECT :source, i."row", i.reason, CAST(:load AS bigint)'
    " FROM unnest(CAST(:rows AS jsonb[]), CAST(:reasons AS text[])) AS i"
    ' ("row", reason) ON CONFLICT DO NOTHING'
)
_TAKE_IN = text(
    "SELECT what, said FROM take_in(:space, CAST(:buckets AS int[]), CAST(:users AS text[]), CAST(:items AS text[]),"
    f" CAST(:key AS text), CAST(:hashes AS text[]), {EVENT_ARRAYS})"
)
_FIND = text(
    "SELECT event_id, user_id, source, to_jsonb(events) FROM events JOIN event_keys USING (event_id, occurred_at)"
    " WHERE event_id = ANY(:ids)"
)
_REMOVE = (
    text(
        "DELETE FROM events USING event_keys AS stored WHERE stored.event_id = ANY(:ids)"
        " AND events.event_id = stored.event_id AND events.occurred_at = stored.occurred_at"
    ),
    text("DELETE FROM event_keys WHERE event_id = ANY(:ids)"),
)


def append_events(connection: Connection, rows: Sequence[EventRow]) -> set[str]:
    """Inserts events and the users they name.

    Missing partitions are created in separate transactions. received_at grows by a microsecond per row, so that it
    keeps the order of arrival among events with equal times.

    Args:
        rows: Events with unique event_ids.

    Returns:
        The event_ids that were stored already.
    """
    existing: set[str] = set()
    for part in _parts(connection, rows):
        existing.update(connection.scalars(_APPEND, event_arrays(part)))
    return existing


def _parts(connection: Connection, rows: Sequence[EventRow]) -> Iterator[list[tuple[int, EventRow]]]:
    """Batches of indexed events, each small enough for one statement; creates their partitions first."""
    times = [row.occurred_at for row in rows]
    if missing_months(connection, times):
        ensure_partitions(connection.engine.begin, times)
    ordered = sorted_for_insert(rows)
    for start in range(0, len(rows), BATCH_SIZE):
        yield ordered[start : start + BATCH_SIZE]


def sorted_for_insert(rows: Sequence[EventRow]) -> list[tuple[int, EventRow]]:
    """Indexed events, sorted by event_id: every writer inserts in the same order, which rules out deadlocks."""
    return sorted(enumerate(rows), key=lambda indexed: indexed[1].event_id)


def event_arrays(indexed: Sequence[tuple[int, EventRow]]) -> dict[str, str | None]:
    """Converts indexed events (see `sorted_for_insert`) to the parameters of `EVENT_ARRAYS`."""
    if not indexed:
        return dict.fromkeys((*EventRow._fields, "arrival"))
    positions, events = zip(*indexed, strict=True)
    columns = zip(EventRow._fields, zip(*events, strict=True), strict=True)
    arrays = {name: _ARRAYS.get(name, text_array)(values) for name, values in columns}
    return arrays | {"arrival": number_array(positions)}


def upsert_items(connection: Connection, rows: Sequence[ItemRow], *, replace: bool = True) -> tuple[int, int]:
    """Inserts new items and updates changed ones.

    Args:
        replace: Whether to update existing items.

    Returns:
        The numbers of inserted and of updated items.
    """
    if not rows:
        return 0, 0
    staging = (
        f"CREATE TEMP TABLE IF NOT EXISTS incoming_items ON COMMIT DELETE ROWS AS SELECT {_ITEMS} FROM items LIMIT 0"
    )
    connection.execute(text(staging))
    connection.execute(text("TRUNCATE incoming_items"))
    copied = ((*row[:-2], Jsonb(row.attributes), row.content_hash) for row in rows)
    copy_rows(connection, "incoming_items", ItemRow._fields, copied)
    update = f"UPDATE SET {_CHANGED}, updated_at = now() WHERE items.content_hash <> EXCLUDED.content_hash"
    inserted_flags = connection.scalars(
        text(
            f"INSERT INTO items ({_ITEMS}) SELECT {_ITEMS} FROM incoming_items ORDER BY item_id"
            f" ON CONFLICT (item_id) DO {update if replace else 'NOTHING'} RETURNING xmax = 0"
        )
    ).all()  # xmax is 0 in a row that no earlier version precedes
    return sum(inserted_flags), len(inserted_flags) - sum(inserted_flags)


def upsert_valid_items(
    connection: Connection, rows: Sequence[ItemRow], *, replace: bool = True
) -> tuple[int, int, list[tuple[ItemRow, Exception]]]:
    """Like `upsert_items`, but also returns the rows that the database refuses instead of failing."""
    counts: list[tuple[int, int]] = []
    rejected: list[tuple[ItemRow, Exception]] = []
    store_bisecting(
        connection,
        rows,
        lambda chunk: counts.append(upsert_items(connection, chunk, replace=replace)),
        lambda row, error: rejected.append((row, error)),
    )
    return sum(added for added, _ in counts), sum(changed for _, changed in counts), rejected


def quarantine(connection: Connection, source: str, rejected: Sequence[Rejected], load_id: int | None = None) -> None:
    """Stores rejected rows once per source and reason; long values are truncated, with their sha256."""
    if not rejected:
        return
    rows, reasons = [json.dumps(json_safe(entry.row)) for entry in rejected], [entry.reason for entry in rejected]
    connection.execute(_QUARANTINE, {"source": source, "rows": rows, "reasons": reasons, "load": load_id})


def quarantine_all(
    connection: Connection, source: str, rejected: Sequence[Rejected], load_id: int | None = None
) -> None:
    """Like `quarantine`; if the database refuses even the quarantined row, only its sha256 is stored."""

    def quarantine_digest(entry: Rejected, error: Exception) -> None:
        digest = hashlib.sha256(json.dumps(json_safe(entry.row)).encode()).hexdigest()
        quarantine(connection, source, [Rejected(entry.index, {"sha256": digest}, unstorable(error))], load_id)

    store_bisecting(
        connection, rejected, lambda chunk: quarantine(connection, source, chunk, load_id), quarantine_digest
    )


@dataclass(frozen=True)
class InsertResult:
    """The result of `insert_admitted`. If anything but `duplicates` is set, nothing was stored.

    Attributes:
        duplicates: The event_ids that were stored already.
        refused: Users whose data may not be stored, with the reason.
        unknown_items: Items that are not in the catalogue.
        tombstones_exist: Whether the call must be repeated with a check of the tombstones.
    """

    duplicates: Set[str]
    refused: Mapping[str, str]
    unknown_items: Set[str]
    tombstones_exist: bool

    @property
    def stored(self) -> bool:
        return not (self.refused or self.unknown_items or self.tombstones_exist)


def insert_admitted(
    connection: Connection,
    privacy: Privacy,
    user_ids: Collection[str],
    rows: Sequence[EventRow],
    *,
    check_tombstones: bool,
) -> InsertResult:
    """Inserts events under the lock of `lock_users`, all or none: only if all users and items are accepted.

    Args:
        user_ids: The users whose data may not change meanwhile, as the store names them.
        rows: Events with unique event_ids; their partitions must exist.
        check_tombstones: Whether to check the tombstones.

    Raises:
        PrivacyError: The store is tied to another privacy key.
    """
    users = storable_ids(user_ids)
    hashes = {privacy.tombstone(user): user for user in users} if check_tombstones else {}
    parameters = {
        "space": LOCK_SPACE,
        "buckets": lock_buckets(user_ids),
        "users": text_array(users),
        "items": text_array(list({row.item_id for row in rows})),
        "key": privacy.key_id if check_tombstones else None,
        "hashes": text_array(list(hashes)),
    }
    answers: dict[str, list[str]] = {}
    for kind, name in connection.execute(_TAKE_IN, parameters | event_arrays(sorted_for_insert(rows))):
        answers.setdefault(kind, []).append(name)
    for key in answers.get("key", []):
        check_key(key, privacy)
    refused = dict.fromkeys(answers.get("no_consent", []), NO_CONSENT)
    refused |= {hashes[user_hash]: FORGOTTEN for user_hash in answers.get("forgotten", [])}
    return InsertResult(set(answers.get("known", [])), refused, set(answers.get("unknown_item", [])), "key" in answers)


def quarantine_events(connection: Connection, reasons: Mapping[str, str]) -> int:
    """Moves events to quarantine, with their reasons by event_id. The same events can be ingested again later.

    Returns:
        How many of the events were stored.
    """
    ids = {"ids": list(reasons)}
    lock_users(connection, {row.user_id for row in connection.execute(_FIND, ids)})
    by_source: dict[str, list[Rejected]] = defaultdict(list)
    for event_id, _, source, row in connection.execute(_FIND, ids):
        by_source[source].append(Rejected(-1, row, f"failed_validation: {reasons[event_id]}"))
    for source, rejected in by_source.items():
        quarantine_all(connection, source, rejected)
    for statement in _REMOVE:
        connection.execute(statement, ids)
    return sum(map(len, by_source.values()))
