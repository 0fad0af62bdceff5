"""Stores a chunk of a load's events in one transaction, by COPY; what holds for `append_events.sql` holds here, too.

A chunk whose events are all new and valid is copied straight into `event_keys` and the months' partitions, as fast as
Postgres can. Any other goes through a temporary table, which finds the events that are stored already.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from sqlalchemy import Connection, Engine, text

from components.store.bulk import text_array
from components.store.consent import lock_users, refused
from components.store.db_errors import STORE_ERRORS, Fault, classify_error, store_bisecting, unstorable
from components.store.engine import USERS, is_server_error, store_error
from components.store.load import quarantine_all
from components.store.loads import LoadRun
from components.store.partitions import partition_name
from components.store.privacy import Privacy
from components.store.rows import Rejected

COPIED = (
    "event_id", "user_id", "item_id", "event", "value", "text", "occurred_at", "session_id", "request_id",
    "model_version", "variant", "source", "received_at",
)  # fmt: skip
"""The columns of a line of events in COPY's text format; times in ISO 8601."""
KEYS = ("event_id", "occurred_at", "load_id")
"""The columns of a line of event keys."""
MAX_PAYLOAD, MAX_PAYLOAD_IDS = 7_900, 1_976
"""Size of a notification that names ids, see `functions/notify_changes.sql`."""
_STAGE = (
    text("CREATE TEMP TABLE incoming_events (LIKE events) ON COMMIT DROP"),
    text("CREATE TEMP TABLE fresh_events (event_id text) ON COMMIT DROP"),
)
_CLEAR = text("TRUNCATE incoming_events, fresh_events")
_USERS = text(
    "INSERT INTO users (user_id) SELECT user_id FROM unnest(CAST(:users AS text[])) AS given (user_id)"
    " WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = given.user_id) ORDER BY 1 ON CONFLICT DO NOTHING"
)
_STAGED_USERS = text(
    "INSERT INTO users (user_id) SELECT DISTINCT user_id FROM incoming_events AS given"
    " WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = given.user_id) ORDER BY 1 ON CONFLICT DO NOTHING"
)
_STAGED_KEYS = text(
    "WITH fresh AS (INSERT INTO event_keys (event_id, occurred_at, load_id)"
    " SELECT event_id, occurred_at, :load FROM incoming_events ORDER BY event_id"
    " ON CONFLICT DO NOTHING RETURNING event_id) INSERT INTO fresh_events SELECT event_id FROM fresh"
)
_CLAIMS = text(  # OFFSET 0: one look-up in the index an event, whatever the planner thinks of the temporary table
    "INSERT INTO load_claims (event_id, load_id) SELECT event_id, :load FROM incoming_events AS given,"
    " LATERAL (SELECT load_id FROM event_keys WHERE event_keys.event_id = given.event_id OFFSET 0) AS owner"
    " WHERE load_id <> :load AND load_id <> ALL(:twins) AND NOT EXISTS (SELECT FROM load_claims AS claims"
    " WHERE claims.event_id = given.event_id AND claims.load_id = ANY(:twins)) ORDER BY event_id ON CONFLICT DO NOTHING"
)
_TWINS = text(
    "SELECT twin.load_id FROM loads JOIN loads AS twin USING (digest)"
    " WHERE loads.load_id = :load AND twin.load_id < :load AND twin.state <> 'undone'"
)
_STAGED_EVENTS = text(
    f"INSERT INTO events ({', '.join(COPIED)}) SELECT {', '.join(COPIED)} FROM incoming_events"
    " WHERE event_id IN (SELECT event_id FROM fresh_events)"
)
_JOURNAL = text(
    "UPDATE load_chunks SET stored = :stored, existing = :existing, refused = :refused, done_at = now()"
    " WHERE load_id = :load AND chunk = :chunk"
)


@dataclass(frozen=True)
class EventChunk:
    """Events with unique event_ids, whose partitions exist, in COPY's text format.

    Attributes:
        users: Their users, as stored.
        keys: Lines of KEYS, in the order of event_id, which rules out deadlocks.
        months: Lines of COPIED by month.
    """

    size: int
    users: Sequence[str]
    keys: str
    months: Mapping[datetime, str]


def store_chunk(engine: Engine, privacy: Privacy, load: LoadRun, chunk: int, events: EventChunk) -> None:
    """Stores a chunk and its row of the journal in one transaction.

    Events of users who were erased, or withdrew their consent, since the rows were judged go to quarantine, without
    content; so do rows that the database refuses.

    Raises:
        StoreError: Postgres cannot be used.
        PrivacyError: The store is tied to another privacy key.
    """
    with engine.begin() as connection:
        lock_users(connection, events.users)
        reasons = refused(connection, privacy, events.users)
        stored, existing = events.size, 0
        rejected: list[Rejected] = []
        if reasons or not _copy_all(connection, events):
            stored, existing = _store_staged(connection, load, events, reasons, rejected)
            quarantine_all(connection, load.source, rejected, load.load_id)
        journal = {"stored": stored, "existing": existing, "refused": len(rejected)}
        connection.execute(_JOURNAL, journal | {"load": load.load_id, "chunk": chunk})


def _copy_all(connection: Connection, events: EventChunk) -> bool:
    """Copies all events; false, and nothing stored, if one is stored already or the database refuses one.

    The months' partitions do not notify as `events` does, so this does it.
    """
    try:
        with connection.begin_nested():
            connection.execute(_USERS, {"users": text_array(events.users)})
            _copy(connection, "event_keys", KEYS, events.keys)
            for month, lines in events.months.items():
                _copy(connection, partition_name("events", month), COPIED, lines)
            payload = json.dumps(list(events.users[:MAX_PAYLOAD_IDS]), ensure_ascii=False)
            fits = len(payload.encode()) <= MAX_PAYLOAD
            notify = {"channel": USERS, "payload": payload if fits else ""}
            connection.execute(text("SELECT pg_notify(:channel, :payload)"), notify)
    except (*STORE_ERRORS, psycopg.Error) as error:
        if classify_error(error) is not Fault.ROW:
            raise
        return False
    return True


def _store_staged(
    connection: Connection, load: LoadRun, events: EventChunk, reasons: Mapping[str, str], rejected: list[Rejected]
) -> tuple[int, int]:
    """Stores what can be stored; returns how many events were stored, and how many had been stored before."""
    for statement in _STAGE:
        connection.execute(statement)
    twins = list(connection.scalars(_TWINS, {"load": load.load_id}))
    admitted = []
    for line in (line for lines in events.months.values() for line in lines.split("\n") if line):
        if reasons and (user := _values(line)["user_id"] or "") in reasons:
            rejected.append(Rejected(-1, {}, reasons[user]))
        else:
            admitted.append(line)
    counts = [(0, 0)]
    store_bisecting(
        connection,
        admitted,
        lambda part: counts.append(_insert(connection, load, twins, part)),
        lambda line, error: rejected.append(Rejected(-1, _values(line), unstorable(error))),
    )
    stored, existing = map(sum, zip(*counts, strict=True))
    return stored, existing


def _insert(connection: Connection, load: LoadRun, twins: Sequence[int], lines: Sequence[str]) -> tuple[int, int]:
    """Inserts events; returns how many were stored, and how many were stored before.

    Args:
        twins: Earlier loads of the same files. A claim of theirs stands for this load, too: see `undo`.
    """
    connection.execute(_CLEAR)
    _copy(connection, "incoming_events", COPIED, "".join(f"{line}\n" for line in lines))
    connection.execute(_STAGED_USERS)
    fresh = connection.execute(_STAGED_KEYS, {"load": load.load_id}).rowcount
    if fresh < len(lines):
        connection.execute(_CLAIMS, {"load": load.load_id, "twins": twins})
    if fresh:
        connection.execute(_STAGED_EVENTS)
    return fresh, len(lines) - fresh


def _copy(connection: Connection, table: str, columns: Sequence[str], lines: str) -> None:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    try:
        with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            copy.write(lines)
    except psycopg.Error as error:
        if not is_server_error(error):
            raise
        raise store_error(connection.engine.url, error) from error


def _values(line: str) -> dict[str, str | None]:
    """The columns of a line."""
    values = (None if value == "\\N" else value.replace("\\\\", "\\") for value in line.split("\t"))
    return dict(zip(COPIED, values, strict=True))
