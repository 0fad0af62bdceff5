"""Stores a chunk of a load's events in one transaction, by COPY; what holds for `append_events.sql` holds here, too."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, Engine, text

from components.store.consent import lock_users, refused
from components.store.db_errors import store_bisecting, unstorable
from components.store.engine import is_server_error, store_error
from components.store.load import quarantine_all
from components.store.loads import LoadRun
from components.store.privacy import Privacy
from components.store.rows import Rejected

COPIED = (
    "event_id", "user_id", "item_id", "event", "value", "text", "occurred_at", "session_id", "request_id",
    "model_version", "variant", "arrival",
)  # fmt: skip
"""The columns of a line in COPY's text format; occurred_at in ISO 8601."""
_STAGE = (
    text(
        "CREATE TEMP TABLE incoming_events (event_id text, user_id text, item_id text, event text, value float8,"
        " text text, occurred_at timestamptz, session_id text, request_id text, model_version text, variant text,"
        " arrival bigint) ON COMMIT DROP"
    ),
    text("CREATE TEMP TABLE fresh_events (event_id text) ON COMMIT DROP"),
)
_COPY = f"COPY incoming_events ({', '.join(COPIED)}) FROM STDIN"
_CLEAR = text("TRUNCATE incoming_events, fresh_events")
_USERS = text(
    "INSERT INTO users (user_id) SELECT DISTINCT user_id FROM incoming_events AS given"
    " WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = given.user_id) ORDER BY 1 ON CONFLICT DO NOTHING"
)
_KEYS = text(
    "WITH fresh AS (INSERT INTO event_keys (event_id, occurred_at, load_id)"
    " SELECT event_id, occurred_at, :load FROM incoming_events ORDER BY event_id"
    " ON CONFLICT DO NOTHING RETURNING event_id) INSERT INTO fresh_events SELECT event_id FROM fresh"
)
_CLAIMS = text(
    "INSERT INTO load_claims (event_id, load_id) SELECT event_id, :load FROM incoming_events"
    " JOIN event_keys USING (event_id) WHERE load_id <> :load ORDER BY event_id ON CONFLICT DO NOTHING"
)
_DROP_EXISTING = text(
    "DELETE FROM incoming_events AS given"
    " WHERE NOT EXISTS (SELECT FROM fresh_events WHERE fresh_events.event_id = given.event_id)"
)
_EVENTS = text(
    "INSERT INTO events (event_id, user_id, item_id, event, value, text, occurred_at, session_id, request_id,"
    " model_version, variant, source, received_at) SELECT event_id, user_id, item_id, event, value, text, occurred_at,"
    " session_id, request_id, model_version, variant, :source,"
    " CAST(:started AS timestamptz) + arrival * interval '1 microsecond' FROM incoming_events"
)
_JOURNAL = text(
    "UPDATE load_chunks SET stored = :stored, existing = :existing, refused = :refused, done_at = now()"
    " WHERE load_id = :load AND chunk = :chunk"
)


@dataclass(frozen=True)
class ChunkLine:
    """An event in COPY's text format (see COPIED), with its user as stored."""

    user_id: str
    line: str


def store_chunk(engine: Engine, privacy: Privacy, load: LoadRun, chunk: int, lines: Sequence[ChunkLine]) -> None:
    """Stores a chunk and its row of the journal in one transaction.

    Events of users who were erased, or withdrew their consent, since the rows were judged go to quarantine, without
    content; so do rows that the database refuses.

    Args:
        lines: Events with unique event_ids, whose partitions exist.

    Raises:
        StoreError: Postgres cannot be used.
        PrivacyError: The store is tied to another privacy key.
    """
    with engine.begin() as connection:
        users = {line.user_id for line in lines}
        lock_users(connection, users)
        reasons = refused(connection, privacy, users)
        admitted = [line for line in lines if line.user_id not in reasons]
        rejected = [Rejected(-1, {}, reasons[line.user_id]) for line in lines if line.user_id in reasons]
        for statement in _STAGE:
            connection.execute(statement)
        counts: list[tuple[int, int]] = []
        store_bisecting(
            connection,
            admitted,
            lambda part: counts.append(_insert(connection, load, part)),
            lambda line, error: rejected.append(_unstorable(line, error)),
        )
        quarantine_all(connection, load.source, rejected, load.load_id)
        stored, existing = (sum(column) for column in zip((0, 0), *counts, strict=True))
        journal = {"stored": stored, "existing": existing, "refused": len(rejected)}
        connection.execute(_JOURNAL, journal | {"load": load.load_id, "chunk": chunk})


def _insert(connection: Connection, load: LoadRun, lines: Sequence[ChunkLine]) -> tuple[int, int]:
    """Inserts events; returns how many were stored, and how many were stored before."""
    connection.execute(_CLEAR)
    _copy(connection, lines)
    connection.execute(_USERS)
    fresh = connection.execute(_KEYS, {"load": load.load_id}).rowcount
    if fresh < len(lines):
        connection.execute(_CLAIMS, {"load": load.load_id})
        connection.execute(_DROP_EXISTING)
    connection.execute(_EVENTS, {"source": load.source, "started": load.started_at})
    return fresh, len(lines) - fresh


def _copy(connection: Connection, lines: Sequence[ChunkLine]) -> None:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    try:
        with raw.cursor() as cursor, cursor.copy(_COPY.encode()) as copy:
            copy.write("".join(f"{line.line}\n" for line in lines))
    except psycopg.Error as error:
        if not is_server_error(error):
            raise
        raise store_error(connection.engine.url, error) from error


def _unstorable(line: ChunkLine, error: Exception) -> Rejected:
    values = (None if value == "\\N" else value.replace("\\\\", "\\") for value in line.line.split("\t"))
    return Rejected(-1, dict(zip(COPIED, values, strict=True)), unstorable(error))
