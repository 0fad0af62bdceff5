"""What the store knows of one person: the latest events, and the vectors of their documents."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, and_, bindparam, func, not_, select, text

from components.histories.signals import RATED
from components.settings import EventSettings
from components.store.bulk import copy_rows
from components.store.people import lock_users
from components.store.schema import Event, UserVector

_VECTORS = ("user_id", "encoder", "as_of", "document_long", "document_short")
_HISTORIES = text(
    "SELECT asked.user_id, one.item_id, one.event, one.value, extract(epoch FROM one.occurred_at)::float8"
    " FROM unnest(CAST(:users AS text[])) AS asked (user_id) CROSS JOIN LATERAL"
    " (SELECT * FROM events WHERE events.user_id = asked.user_id"
    " ORDER BY occurred_at DESC, received_at DESC, event_id DESC LIMIT :limit) AS one"
    " ORDER BY one.occurred_at, one.received_at, one.event_id"
)
_DOCUMENTS = select(UserVector.user_id, UserVector.document_long, UserVector.document_short).where(
    UserVector.user_id == func.any(bindparam("users")), UserVector.encoder == bindparam("encoder")
)
_ACTIVE_USERS = text(
    "SELECT user_id FROM events WHERE occurred_at >= :since"
    " GROUP BY user_id ORDER BY max(occurred_at) DESC, user_id LIMIT :most"
)


class Behaviour(NamedTuple):
    """What a user did to an item. at: epoch seconds."""

    item_id: str
    event: str
    value: float | None
    at: float


def read_histories(connection: Connection, user_ids: Collection[str], limit: int) -> dict[str, list[Behaviour]]:
    """The last `limit` events of each user, oldest first."""
    histories: dict[str, list[Behaviour]] = {user: [] for user in user_ids}
    for user, *event in connection.execute(_HISTORIES, {"users": list(user_ids), "limit": limit}):
        histories[user].append(Behaviour(*event))
    return histories


def read_users_since(connection: Connection, since: datetime, limit: int) -> Sequence[str]:
    """Users with events from `since` on, at most so many, the one with the latest first."""
    return connection.scalars(_ACTIVE_USERS, {"since": since, "most": limit}).all()


def read_documents(connection: Connection, user_ids: Collection[str], encoder: str) -> dict[str, np.ndarray]:
    """LLM(D_l) and LLM(D_s) of each user who has vectors of this encoder, float32 (2, e), a zero row being absent."""
    rows = connection.execute(_DOCUMENTS, {"users": list(user_ids), "encoder": encoder})
    return {user: _stacked(long, short) for user, long, short in rows}


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


def _stacked(long: Sequence[float], short: Sequence[float] | None) -> np.ndarray:
    return np.array([long, np.zeros(len(long)) if short is None else short], dtype=np.float32)


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


def count_wanted(connection: Connection, since: datetime, settings: EventSettings) -> dict[str, int]:
    """Positive events of each item from `since` on, those that `components.histories.signals` calls positive."""
    positive = [kind for kind, weight in settings.weights.items() if weight * settings.signs[kind] > 0]
    disliked = and_(Event.event.in_(RATED), func.coalesce(Event.value, settings.dislike_below) < settings.dislike_below)
    counted = select(Event.item_id, func.count()).where(
        Event.occurred_at >= since, Event.event.in_(positive), not_(disliked)
    )
    return dict(connection.execute(counted.group_by(Event.item_id)).all())
