"""Erasure of a person: the tables at once, in one transaction; what files hold is worked off from `erasures`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy import orm as sqlorm
from sqlalchemy.dialects.postgresql import insert as upsert

from components.store.people import claim_key, lock_users
from components.store.privacy import Privacy
from components.store.schema import QUARANTINED_USER, Erasure, Event, Tombstone

STATEMENT_LIMIT = "60s"
_DELETE = {
    "events": (
        "WITH gone AS (DELETE FROM events WHERE user_id = :user RETURNING event_id)"
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
    """erasure_id: the row that the files wait for. removed: rows by table."""

    erasure_id: int
    removed: dict[str, int]


def forget(connection: Connection, privacy: Privacy, user_id: str) -> TableErasure:
    """Erases a user, as the store knows them, from every table, and leaves a tombstone.

    Asked again while the files still wait, it finds the same erasure. Raises PrivacyError.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_LIMIT}'"))
    lock_users(connection, [user_id], exclusive=True)
    claim_key(connection, privacy)
    mark = privacy.tombstone(user_id)
    first = connection.execute(
        select(func.min(Event.occurred_at), func.min(Event.received_at)).where(Event.user_id == user_id)
    ).one()
    removed = _delete_rows(connection, user_id)
    buried = upsert(Tombstone).values(user_hash=mark)
    connection.execute(
        buried.on_conflict_do_update(index_elements=[Tombstone.user_hash], set_={"forgotten_at": func.now()})
    )
    waiting = select(Erasure.erasure_id).where(Erasure.user_id == user_id, Erasure.done_at.is_(None))
    erasure_id = connection.scalar(waiting)
    if erasure_id is None or first[0] is not None:
        row = {"user_id": user_id, "user_hash": mark, "first_occurred_at": first[0], "first_received_at": first[1]}
        erasure_id = connection.scalars(insert(Erasure).values(row).returning(Erasure.erasure_id)).one()
    return TableErasure(erasure_id, removed)


def forget_all(connection: Connection, privacy: Privacy, names: Sequence[str]) -> TableErasure:
    """As `forget`, of all names of a user (`Privacy.names`); the erasure is that of the first. Raises PrivacyError."""
    lock_users(connection, names, exclusive=True)
    erased = [forget(connection, privacy, name) for name in names]
    tables = erased[0].removed
    return TableErasure(erased[0].erasure_id, {table: sum(one.removed[table] for one in erased) for table in tables})


def open_erasures(connection: Connection) -> Sequence[Erasure]:
    """Those whose files still wait, oldest first."""
    with sqlorm.Session(connection, expire_on_commit=False) as session:
        return session.scalars(select(Erasure).where(Erasure.done_at.is_(None)).order_by(Erasure.erasure_id)).all()


def first_events(connection: Connection, user_hash: str) -> tuple[datetime | None, datetime | None]:
    """When the user's first event ever occurred, and was received, by all erasures of them."""
    first = select(func.min(Erasure.first_occurred_at), func.min(Erasure.first_received_at))
    occurred, received = connection.execute(first.where(Erasure.user_hash == user_hash)).one()
    return occurred, received


def finish(connection: Connection, erasure: Erasure, report: dict[str, Any]) -> None:
    """Closes an erasure: the id goes, the report stays.

    What a training under way had still written of the user goes too, unless they have come back meanwhile.
    """
    assert erasure.user_id is not None
    lock_users(connection, [erasure.user_id], exclusive=True)
    stands = select(Tombstone.user_hash).where(Tombstone.user_hash == erasure.user_hash)
    if connection.scalar(stands) is not None:
        _delete_rows(connection, erasure.user_id)
    done = update(Erasure).where(Erasure.erasure_id == erasure.erasure_id)
    connection.execute(done.values(user_id=None, done_at=func.now(), report=report))


def expire_tombstones(connection: Connection, now: datetime, days: int) -> int:
    """Removes the tombstones older than so many days, none for 0: how many."""
    if not days:
        return 0
    return connection.execute(delete(Tombstone).where(Tombstone.forgotten_at < now - timedelta(days=days))).rowcount


def read_report(connection: Connection, erasure_id: int) -> dict[str, Any] | None:
    """What the files' part of an erasure did; None as long as it waits."""
    row = connection.execute(
        select(Erasure.done_at, Erasure.report).where(Erasure.erasure_id == erasure_id)
    ).one_or_none()
    return None if row is None or row.done_at is None else dict(row.report)


def _delete_rows(connection: Connection, user_id: str) -> dict[str, int]:
    return {table: connection.execute(text(query), {"user": user_id}).rowcount for table, query in _DELETE.items()}
