"""Erasure of a user: tables at once, in one transaction; files later, by the queue `erasures`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy import orm as sqlorm
from sqlalchemy.dialects.postgresql import insert as upsert

from components.store.consent import claim_key, lock_users
from components.store.privacy import Privacy
from components.store.schema import QUARANTINED_USER, Erasure, Event, Tombstone

STATEMENT_LIMIT = "60s"
_DELETE = {
    "events": (
        "WITH gone AS (DELETE FROM events WHERE user_id = :user RETURNING event_id),"
        " claims AS (DELETE FROM load_claims USING gone WHERE load_claims.event_id = gone.event_id)"
        " DELETE FROM event_keys USING gone WHERE event_keys.event_id = gone.event_id"
    ),
    "impressions": "DELETE FROM impressions WHERE user_id = :user",
    "user_vectors": "DELETE FROM user_vectors WHERE user_id = :user",
    "batch_recommendations": "DELETE FROM batch_recommendations WHERE user_id = :user",
    "quarantine": f"DELETE FROM quarantine WHERE {QUARANTINED_USER} = :user",
    "users": "DELETE FROM users WHERE user_id = :user",
}


@dataclass(frozen=True)
class TableErasure:
    """The result of erasing a user from the tables.

    Attributes:
        erasure_id: Row of `erasures` that queues the erasure from files.
        removed: Deleted rows by table.
    """

    erasure_id: int
    removed: dict[str, int]


def forget(connection: Connection, privacy: Privacy, user_id: str) -> TableErasure:
    """Deletes a user from every table and leaves a tombstone.

    While an earlier erasure is still open, a repeated call without new events returns that one.

    Args:
        user_id: The user's id as stored (`Privacy.pseudonym`).

    Raises:
        PrivacyError: The store is tied to another privacy key.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_LIMIT}'"))
    lock_users(connection, [user_id], exclusive=True)
    claim_key(connection, privacy)
    user_hash = privacy.tombstone(user_id)
    first_times = connection.execute(
        select(func.min(Event.occurred_at), func.min(Event.received_at)).where(Event.user_id == user_id)
    ).one()
    removed = _delete_rows(connection, user_id)
    tombstone = upsert(Tombstone).values(user_hash=user_hash)
    connection.execute(
        tombstone.on_conflict_do_update(index_elements=[Tombstone.user_hash], set_={"forgotten_at": func.now()})
    )
    open_erasure = select(Erasure.erasure_id).where(Erasure.user_id == user_id, Erasure.done_at.is_(None))
    erasure_id = connection.scalar(open_erasure)
    if erasure_id is None or first_times[0] is not None:
        row = {
            "user_id": user_id,
            "user_hash": user_hash,
            "first_occurred_at": first_times[0],
            "first_received_at": first_times[1],
        }
        erasure_id = connection.scalars(insert(Erasure).values(row).returning(Erasure.erasure_id)).one()
    return TableErasure(erasure_id, removed)


def forget_all(connection: Connection, privacy: Privacy, names: Sequence[str]) -> TableErasure:
    """Like `forget`, for all names of a user (`Privacy.names`). Returns the first one's erasure, with summed counts."""
    lock_users(connection, names, exclusive=True)
    erased = [forget(connection, privacy, name) for name in names]
    tables = erased[0].removed
    return TableErasure(
        erased[0].erasure_id, {table: sum(erasure.removed[table] for erasure in erased) for table in tables}
    )


def open_erasures(connection: Connection) -> Sequence[Erasure]:
    """The erasures whose files are still to be processed, oldest first."""
    with sqlorm.Session(connection, expire_on_commit=False) as session:
        return session.scalars(select(Erasure).where(Erasure.done_at.is_(None)).order_by(Erasure.erasure_id)).all()


def first_event_times(connection: Connection, user_hash: str) -> tuple[datetime | None, datetime | None]:
    """The earliest occurred_at and received_at of a user's events over all their erasures."""
    first = select(func.min(Erasure.first_occurred_at), func.min(Erasure.first_received_at))
    occurred, received = connection.execute(first.where(Erasure.user_hash == user_hash)).one()
    return occurred, received


def finish(connection: Connection, erasure: Erasure, report: dict[str, Any]) -> None:
    """Closes an erasure: clears the user id and stores the report.

    Deletes what a concurrent training still wrote about the user, unless they have consented again meanwhile.
    """
    assert erasure.user_id is not None
    lock_users(connection, [erasure.user_id], exclusive=True)
    tombstone = select(Tombstone.user_hash).where(Tombstone.user_hash == erasure.user_hash)
    if connection.scalar(tombstone) is not None:
        _delete_rows(connection, erasure.user_id)
    close = update(Erasure).where(Erasure.erasure_id == erasure.erasure_id)
    connection.execute(close.values(user_id=None, done_at=func.now(), report=report))


def expire_tombstones(connection: Connection, now: datetime, days: int) -> int:
    """Deletes tombstones older than `days` (0: none) and returns their number."""
    if not days:
        return 0
    return connection.execute(delete(Tombstone).where(Tombstone.forgotten_at < now - timedelta(days=days))).rowcount


def read_report(connection: Connection, erasure_id: int) -> dict[str, Any] | None:
    """The report on the erasure from files; None while it is open."""
    row = connection.execute(
        select(Erasure.done_at, Erasure.report).where(Erasure.erasure_id == erasure_id)
    ).one_or_none()
    return None if row is None or row.done_at is None else dict(row.report)


def _delete_rows(connection: Connection, user_id: str) -> dict[str, int]:
    return {table: connection.execute(text(query), {"user": user_id}).rowcount for table, query in _DELETE.items()}
