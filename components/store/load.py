"""Cleaned rows to Postgres, rejected ones to quarantine, once each however often they come."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from components.core.normalize import json_safe
from components.store.bulk import copy_rows, number_array, text_array, time_array
from components.store.faults import rejected_row, store_bisecting, unstorable
from components.store.partitions import ensure_partitions, missing_months
from components.store.people import FORGOTTEN, LOCK_SPACE, NO_CONSENT, check_key, lock_buckets, lock_users, storable_ids
from components.store.privacy import Privacy
from components.store.rows import EventRow, ItemRow, Rejected

BATCH_SIZE = 20_000
"""Events in one statement."""
_TYPES = {"value": "float8", "occurred_at": "float8", "arrival": "bigint"}
_ARRAYS: dict[str, Callable[[Any], str | None]] = {"value": number_array, "occurred_at": time_array}
EVENT_ARRAYS = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in (*EventRow._fields, "arrival"))
"""The parameters of `append_events` and `take_in`, see `functions/append_events.sql`; `event_arrays` gives them."""
_APPEND = text(f"SELECT append_events({EVENT_ARRAYS})")
_ITEMS = ", ".join(ItemRow._fields)
_CHANGED = ", ".join(f"{name} = EXCLUDED.{name}" for name in ItemRow._fields if name != "item_id")
_QUARANTINE = text(
    'INSERT INTO quarantine (source, "row", reason)'
    ' SELECT :source, i."row", i.reason FROM unnest(CAST(:rows AS jsonb[]), CAST(:reasons AS text[])) AS i'
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
        "DELETE FROM events USING event_keys AS known WHERE known.event_id = ANY(:ids)"
        " AND events.event_id = known.event_id AND events.occurred_at = known.occurred_at"
    ),
    text("DELETE FROM event_keys WHERE event_id = ANY(:ids)"),
)


def append_events(connection: Connection, rows: Sequence[EventRow]) -> set[str]:
    """Stores events (event_id unique among them) and the users they name; the event_ids that were there before.

    Missing partitions are made in transactions of their own. received_at grows by a microsecond a row, so that it
    keeps the order of arrival among events of one time.
    """
    known: set[str] = set()
    for part in _parts(connection, rows):
        known.update(connection.scalars(_APPEND, event_arrays(part)))
    return known


def append_valid_events(connection: Connection, rows: Sequence[EventRow]) -> tuple[set[str], list[Rejected]]:
    """As `append_events`, without the rows that the database refuses, which are told too."""
    known: set[str] = set()
    refused: list[Rejected] = []
    for part in _parts(connection, rows):
        store_bisecting(
            connection,
            part,
            lambda some: known.update(connection.scalars(_APPEND, event_arrays(some)).all()),
            lambda one, error: refused.append(rejected_row(one[1], error)),
        )
    return known, refused


def _parts(connection: Connection, rows: Sequence[EventRow]) -> Iterator[list[tuple[int, EventRow]]]:
    """Events with their places, so many that one statement takes them; their partitions are there."""
    times = [row.occurred_at for row in rows]
    if missing_months(connection, times):
        ensure_partitions(connection.engine.begin, times)
    arrived = sorted_for_insert(rows)
    for start in range(0, len(rows), BATCH_SIZE):
        yield arrived[start : start + BATCH_SIZE]


def sorted_for_insert(rows: Sequence[EventRow]) -> list[tuple[int, EventRow]]:
    """Events with their places, in the order in which all writers store them: no deadlock."""
    return sorted(enumerate(rows), key=lambda one: one[1].event_id)


def event_arrays(arrived: Sequence[tuple[int, EventRow]]) -> dict[str, str | None]:
    """Some of `sorted_for_insert` as the parameters `EVENT_ARRAYS`."""
    if not arrived:
        return dict.fromkeys((*EventRow._fields, "arrival"))
    arrival, events = zip(*arrived, strict=True)
    columns = zip(EventRow._fields, zip(*events, strict=True), strict=True)
    arrays = {name: _ARRAYS.get(name, text_array)(values) for name, values in columns}
    return arrays | {"arrival": number_array(arrival)}


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


def upsert_sound_items(
    connection: Connection, rows: Sequence[ItemRow], *, replace: bool = True
) -> tuple[int, int, list[tuple[ItemRow, Exception]]]:
    """As `upsert_items`, without the rows that the database refuses, which are told too."""
    counts: list[tuple[int, int]] = []
    refused: list[tuple[ItemRow, Exception]] = []
    store_bisecting(
        connection,
        rows,
        lambda some: counts.append(upsert_items(connection, some, replace=replace)),
        lambda row, error: refused.append((row, error)),
    )
    return sum(added for added, _ in counts), sum(changed for _, changed in counts), refused


def quarantine(connection: Connection, source: str, rejected: Sequence[Rejected]) -> None:
    """Keeps rejected rows, long values by their beginning and sha256; one that this source brought before is not kept
    again."""
    if not rejected:
        return
    rows, reasons = [json.dumps(json_safe(one.row)) for one in rejected], [one.reason for one in rejected]
    connection.execute(_QUARANTINE, {"source": source, "rows": rows, "reasons": reasons})


def quarantine_all(connection: Connection, source: str, rejected: Sequence[Rejected]) -> None:
    """As `quarantine`; of a row that the database refuses there too the sha256 alone is kept."""

    def refused(one: Rejected, error: Exception) -> None:
        digest = hashlib.sha256(json.dumps(json_safe(one.row)).encode()).hexdigest()
        quarantine(connection, source, [Rejected(one.index, {"sha256": digest}, unstorable(error))])

    store_bisecting(connection, rejected, lambda some: quarantine(connection, source, some), refused)


@dataclass(frozen=True)
class Taken:
    """known: the event_ids that were there before. Where anything else is told, nothing was stored: refused: users of
    whom nothing may be kept, with the reason; unknown: items that the catalogue lacks; keyed: the tombstones must be
    asked too."""

    known: Set[str]
    refused: Mapping[str, str]
    unknown: Set[str]
    keyed: bool

    @property
    def stored(self) -> bool:
        return not (self.refused or self.unknown or self.keyed)


def take_in(
    connection: Connection, privacy: Privacy, user_ids: Collection[str], rows: Sequence[EventRow], *, keyed: bool
) -> Taken:
    """Stores events (event_id unique among them) of users under the lock of `lock_users`, if all of these users and
    items are welcome. keyed: asks the tombstones, too. The partitions must be there. Raises PrivacyError."""
    users = storable_ids(user_ids)
    hashes = {privacy.tombstone(user): user for user in users} if keyed else {}
    asked = {
        "space": LOCK_SPACE,
        "buckets": lock_buckets(user_ids),
        "users": text_array(users),
        "items": text_array(list({row.item_id for row in rows})),
        "key": privacy.key_id if keyed else None,
        "hashes": text_array(list(hashes)),
    }
    said: dict[str, list[str]] = {}
    for what, name in connection.execute(_TAKE_IN, asked | event_arrays(sorted_for_insert(rows))):
        said.setdefault(what, []).append(name)
    for key in said.get("key", []):
        check_key(key, privacy)
    refused = dict.fromkeys(said.get("no_consent", []), NO_CONSENT)
    refused |= {hashes[one]: FORGOTTEN for one in said.get("forgotten", [])}
    return Taken(set(said.get("known", [])), refused, set(said.get("unknown_item", [])), "key" in said)


def put_aside(connection: Connection, reasons: Mapping[str, str]) -> int:
    """Moves events to quarantine, with the reasons by event_id: how many were there. The same event may come again."""
    ids = {"ids": list(reasons)}
    lock_users(connection, {row.user_id for row in connection.execute(_FIND, ids)})
    found: dict[str, list[Rejected]] = defaultdict(list)
    for event_id, _, source, row in connection.execute(_FIND, ids):
        found[source].append(Rejected(-1, row, f"failed_validation: {reasons[event_id]}"))
    for source, rejected in found.items():
        quarantine_all(connection, source, rejected)
    for statement in _REMOVE:
        connection.execute(statement, ids)
    return sum(map(len, found.values()))
