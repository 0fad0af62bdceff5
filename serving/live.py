"""What is known of a user at the moment of a request: the stored history, and what happens right now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from sqlalchemy import Connection

from components.columns import Columns
from components.interests.signals import signals
from components.ranking.states import UserState
from components.settings import EventSettings
from components.store.history import read_documents, read_history
from serving.catalogue import read_seen
from serving.requests import ContextEvent

EVENT_COLUMNS = [Columns.ITEM, Columns.EVENT, Columns.VALUE, Columns.OCCURRED_AT]
EMPTY = pd.DataFrame(columns=EVENT_COLUMNS)


@dataclass(frozen=True)
class Stored:
    """What Postgres holds of a user: events oldest first, all items ever met, LLM(D_l) and LLM(D_s) (2, e) or None."""

    events: pd.DataFrame
    seen: set[str]
    documents: np.ndarray | None
    allowed: bool = True
    """Whether anything may be kept of this user."""


NOTHING = Stored(EMPTY, set(), None)
REFUSED = Stored(EMPTY, set(), None, allowed=False)


def read_stored(connection: Connection, user_id: str, encoder: str, limit: int) -> Stored:
    """Everything committed before this moment. `events` holds the latest `limit`, `seen` is complete."""
    events = read_history(connection, user_id, limit)
    if events.empty:
        return NOTHING
    seen = set(events[Columns.ITEM]) if len(events) < limit else read_seen(connection, user_id)
    return Stored(events, seen, _documents(connection, user_id, encoder))


def _documents(connection: Connection, user_id: str, encoder: str) -> np.ndarray | None:
    found = read_documents(connection, user_id, encoder)
    if found is None:
        return None
    _, long, short = found
    return np.stack([long, np.zeros_like(long) if short is None else short]).astype(np.float32)


def make_state(
    stored: Stored, context: Sequence[ContextEvent], rows: dict[str, int], now: float, settings: EventSettings
) -> UserState:
    """The stored history and the context as rows of the bundle; items that the bundle lacks are left out."""
    frames = [frame for frame in (stored.events, _frame(context, now)) if len(frame)]
    events = pd.concat([frame[EVENT_COLUMNS] for frame in frames]) if frames else EMPTY
    found = np.array([rows.get(item, -1) for item in events[Columns.ITEM]], dtype=np.int64)
    known = events[found >= 0]
    times = known[Columns.OCCURRED_AT].astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    order = np.argsort(times, kind="stable")
    return UserState(
        items=found[found >= 0][order],
        times=times[order],
        signals=signals(known, settings)[order],
        now=now,
        documents=stored.documents,
    )


def _frame(context: Sequence[ContextEvent], now: float) -> pd.DataFrame:
    times = [now if event.timestamp is None else event.timestamp for event in context]
    return pd.DataFrame(
        {
            Columns.ITEM: [event.item_id for event in context],
            Columns.EVENT: [event.event for event in context],
            Columns.VALUE: np.nan,
            Columns.OCCURRED_AT: [datetime.fromtimestamp(time, UTC) for time in times],
        }
    )
