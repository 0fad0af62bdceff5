"""Reads users' latest events, and reads and writes the vectors of their documents."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, and_, bindparam, func, not_, select, text

from components.histories.signals import RATED
from components.settings import EventSettings
from components.store.bulk import copy_rows
from components.store.consent import lock_users
from components.store.schema import Event, UserVector

_VECTORS = ("user_id", "encoder", "as_of", "document_long", "document_short")
_HISTORIES = text(
    "SELECT requested.user_id, latest.item_id, latest.event, latest.value,"
    " extract(epoch FROM latest.occurred_at)::float8"
    " FROM unnest(CAST(:users AS text[])) AS requested (user_id) CROSS JOIN LATERAL"
    " (SELECT * FROM events WHERE events.user_id = requested.user_id"
    " ORDER BY occurred_at DESC, received_at DESC, event_id DESC LIMIT :limit) AS latest"
    " ORDER BY latest.occurred_at, latest.received_at, latest.event_id"
)
_DOCUMENTS = select(UserVector.user_id, UserVector.document_long, UserVector.document_short).where(
    UserVector.user_id == func.any(bindparam("users")), UserVector.encoder == bindparam("encoder")
)
_ACTIVE_USERS = text(
    "SELECT user_id FROM events WHERE occurred_at >= :since"
    " GROUP BY user_id ORDER BY max(occurred_at) DESC, user_id LIMIT :limit"
)


class Interaction(NamedTuple):
    """A user's interaction with an item; `at` in epoch seconds."""

    item_id: str
    event: str
    value: float | None
    at: float


def read_histories(connection: Connection, user_ids: Collection[str], limit: int) -> dict[str, list[Interaction]]:
    """Reads the last `limit` events of each user, oldest first."""
    histories: dict[str, list[Interaction]] = {user: [] for user in user_ids}
    for user, *event in connection.execute(_HISTORIES, {"users": list(user_ids), "limit": limit}):
        histories[user].append(Interaction(*event))
    return histories


def read_active_users(connection: Connection, since: datetime, limit: int) -> Sequence[str]:
    """Reads up to `limit` users with events since a time, most recently active first."""
    return connection.scalars(_ACTIVE_USERS, {"since": since, "limit": limit}).all()


def read_documents(connection: Connection, user_ids: Collection[str], encoder: str) -> dict[str, NDArray[np.float32]]:
    """Reads LLM(D_l) and LLM(D_s) of each user with vectors of this encoder, (2, e) float32; an absent one is zero."""
    rows = connection.execute(_DOCUMENTS, {"users": list(user_ids), "encoder": encoder})
    return {user: _stacked(long, short) for user, long, short in rows}


def write_documents(
    engine: Engine,
    encoder: str,
    user_ids: Sequence[str],
    as_of: Sequence[datetime],
    long: NDArray[np.float32],
    short: NDArray[np.float32],
) -> int:
    """Stores the document vectors of n users unless stored ones have a later `as_of`.

    Users who were erased or withdrew consent since their history was read are skipped.

    Args:
        long: LLM(D_l), (n, e) float32.
        short: LLM(D_s), (n, e) float32; a zero row is absent.

    Returns:
        The number of users whose vectors were stored.
    """
    absent = np.count_nonzero(short, axis=1) == 0
    rows = (
        (user, encoder, time, json.dumps(long[i].tolist()), None if absent[i] else json.dumps(short[i].tolist()))
        for i, (user, time) in enumerate(zip(user_ids, as_of, strict=True))
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


def _stacked(long: Sequence[float], short: Sequence[float] | None) -> NDArray[np.float32]:
    return np.array([long, np.zeros(len(long)) if short is None else short], dtype=np.float32)


def read_all_documents(
    engine: Engine, encoder: str, dimension: int
) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.float32]]:
    """Reads the document vectors of all users by one encoder.

    Returns:
        User ids (n,), as_of in epoch seconds (n,) float64, and vectors (n, 2, e) float32; an absent short one is zero.
    """
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


def count_feedback(engine: Engine, request_id: str) -> int:
    """Counts the events that are feedback on a recommendation."""
    with engine.connect() as connection:
        query = select(func.count()).select_from(Event).where(Event.request_id == request_id)
        return connection.execute(query).scalar_one()


def count_positive_events(connection: Connection, since: datetime, settings: EventSettings) -> dict[str, int]:
    """Counts each item's positive events since a time; `components.histories.signals` defines which are positive."""
    positive = [kind for kind, weight in settings.weights.items() if weight * settings.signs[kind] > 0]
    disliked = and_(Event.event.in_(RATED), func.coalesce(Event.value, settings.dislike_below) < settings.dislike_below)
    counted = select(Event.item_id, func.count()).where(
        Event.occurred_at >= since, Event.event.in_(positive), not_(disliked)
    )
    return dict(connection.execute(counted.group_by(Event.item_id)).all())
