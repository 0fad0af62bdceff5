"""What the store knows of one person: the latest events, and the vectors of their documents."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, func, select, text

from components.store.bulk import copy_rows
from components.store.people import lock_users
from components.store.schema import Event, UserVector

_VECTORS = ("user_id", "encoder", "as_of", "document_long", "document_short")
_HISTORY = text(
    "SELECT item_id, event, value, occurred_at FROM events WHERE user_id = :user"
    " ORDER BY occurred_at DESC, received_at DESC, event_id DESC LIMIT :limit"
)


class Behaviour(NamedTuple):
    """What a user did to an item. at: epoch seconds."""

    item_id: str
    event: str
    value: float | None
    at: float


def read_history(connection: Connection, user_id: str, limit: int) -> list[Behaviour]:
    """The last `limit` events of a user, oldest first."""
    rows = connection.execute(_HISTORY, {"user": user_id, "limit": limit}).all()
    return [Behaviour(item, event, value, moment.timestamp()) for item, event, value, moment in reversed(rows)]


def read_documents(
    connection: Connection, user_id: str, encoder: str
) -> tuple[datetime, np.ndarray, np.ndarray | None] | None:
    """(as_of, LLM(D_l) (e,), LLM(D_s) (e,) or None), float32; None for a user without vectors of this encoder."""
    query = select(UserVector.as_of, UserVector.document_long, UserVector.document_short).where(
        UserVector.user_id == user_id, UserVector.encoder == encoder
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    as_of, long, short = row
    return as_of, np.asarray(long, np.float32), None if short is None else np.asarray(short, np.float32)


def write_documents(
    engine: Engine,
    encoder: str,
    user_ids: Sequence[str],
    as_of: Sequence[datetime],
    long: np.ndarray,
    short: np.ndarray,
) -> int:
    """Stores the document vectors of n users, float32 (n, e) each; a zero row of `short` is absent. How many were kept.

    A user's vectors are replaced unless those that are there are as of a later time. Of people who were erased since
    their history was read, or do not consent any more, none are kept.
    """
    absent = np.count_nonzero(short, axis=1) == 0
    rows = (
        (user, encoder, moment, json.dumps(long[i].tolist()), None if absent[i] else json.dumps(short[i].tolist()))
        for i, (user, moment) in enumerate(zip(user_ids, as_of, strict=True))
    )
    with engine.begin() as connection:
        lock_users(connection, user_ids)
        connection.execute(text("CREATE TEMP TABLE incoming_vectors (LIKE user_vectors) ON COMMIT DROP"))
        copy_rows(connection, "incoming_vectors", _VECTORS, rows)
        return connection.execute(
            text(
                "INSERT INTO user_vectors SELECT incoming_vectors.* FROM incoming_vectors JOIN users USING (user_id)"
                " WHERE consent ORDER BY user_id"
                " ON CONFLICT (user_id, encoder) DO UPDATE SET as_of = EXCLUDED.as_of,"
                " document_long = EXCLUDED.document_long, document_short = EXCLUDED.document_short"
                " WHERE EXCLUDED.as_of >= user_vectors.as_of"
            )
        ).rowcount


def read_all_documents(engine: Engine, encoder: str, dimension: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Document vectors of all users by one encoder: ids (n,), as_of in epoch seconds (n,), float32 (n, 2, e)."""
    query = select(UserVector.user_id, UserVector.as_of, UserVector.document_long, UserVector.document_short).where(
        UserVector.encoder == encoder
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    users = np.array([row.user_id for row in rows], dtype=object)
    as_of = np.array([row.as_of.timestamp() for row in rows])
    pairs = [[row.document_long, row.document_short] for row in rows]
    vectors = [[long, np.zeros_like(long) if short is None else short] for long, short in pairs]
    return users, as_of, np.asarray(vectors, dtype=np.float32).reshape(len(rows), 2, dimension)


def count_answers(engine: Engine, request_id: str) -> int:
    """Events that answer a recommendation."""
    with engine.connect() as connection:
        query = select(func.count()).select_from(Event).where(Event.request_id == request_id)
        return connection.execute(query).scalar_one()
