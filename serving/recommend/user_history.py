"""What is known of a user at the moment of a request: the stored history, and what happens right now."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from sqlalchemy import Connection

from components.histories.signals import signal
from components.histories.states import UserState
from components.ranking.filters import Exclusion
from components.settings import EventSettings
from components.store.history import Behaviour, read_documents, read_histories
from components.store.rows import EventRow
from serving.contract.requests import ContextEvent
from serving.recommend.catalogue import read_excluded


@dataclass(frozen=True)
class History:
    """Events as rows of the bundle, oldest first: int64 (h,) items, float64 (h,) epoch seconds, float32 (h,) signals.
    Those of items that the bundle lacks are left out."""

    items: np.ndarray
    times: np.ndarray
    signals: np.ndarray

    def latest(self, count: int) -> "History":
        """So many of them at most."""
        return self if len(self.items) <= count else History(*(part[-count:] for part in vars(self).values()))


NO_HISTORY = History(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class UserHistory:
    """What Postgres holds of a user, and what waits in the spool.

    history: the latest events. excluded: int64, rows of all items that are not shown again, some of them twice.
    documents: LLM(D_l) and LLM(D_s), float32 (2, e), or None. events: how many were read. allowed: whether anything
    may be kept of this user. waiting: whether some of them wait. unknown: items ever met that the bundle lacks. size:
    rows of the bundle.
    """

    history: History
    excluded: np.ndarray
    documents: np.ndarray | None = None
    events: int = 0
    allowed: bool = True
    waiting: bool = False
    unknown: frozenset[str] = frozenset()
    size: int = 0

    @property
    def known(self) -> bool:
        """Whether there is any event."""
        return self.events > 0


NOTHING = UserHistory(NO_HISTORY, NO_HISTORY.items)
REFUSED = UserHistory(NO_HISTORY, NO_HISTORY.items, allowed=False)


@dataclass(frozen=True)
class HistoryReader:
    """How one bundle reads events. rows: of the bundle, by item; size: their number; limit: the latest events that
    count; exclusion: what is not shown again."""

    rows: Mapping[str, int]
    size: int
    settings: EventSettings
    encoder: str
    limit: int
    exclusion: Exclusion

    def stored(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        """Everything committed before this moment, by user."""
        histories = read_histories(connection, user_ids, self.limit)
        met = [user for user, events in histories.items() if events]
        documents = read_documents(connection, met, self.encoder) if met else {}
        excluded = {
            user: read_excluded(connection, user, self.exclusion) for user in met if len(histories[user]) >= self.limit
        }
        return {
            user: self._read(events, excluded.get(user, set()), documents.get(user)) if events else NOTHING
            for user, events in histories.items()
        }

    def _read(self, events: Sequence[Behaviour], excluded: set[str], documents: np.ndarray | None) -> UserHistory:
        """excluded: by events that may be older."""
        excluded = excluded | self._excluded(events)
        unknown = self._unknown(excluded.union(one.item_id for one in events))
        history, rows = self.history(events), self.known_rows(excluded)
        return UserHistory(history, rows, documents, len(events), unknown=unknown, size=self.size)

    def holds(self, stored: UserHistory) -> bool:
        """Whether what was read for the bundle with fewer rows, or more, says the same for these."""
        if stored.size == self.size:
            return True
        return stored.size < self.size and not any(item in self.rows for item in stored.unknown)

    def after(self, stored: UserHistory, events: Sequence[EventRow]) -> UserHistory | None:
        """What Postgres holds once events were added to it; None where that must be read."""
        count = stored.events + len(events)
        unknown = stored.unknown | self._unknown(one.item_id for one in events)
        if not stored.allowed or not self.holds(stored) or (unknown and count > self.limit):
            return None
        met = [row for row in self.known_rows(self._excluded(events)) if not (stored.excluded == row).any()]
        return UserHistory(
            _merged(stored.history, self.history(events)).latest(self.limit),
            np.append(stored.excluded, met) if met else stored.excluded,
            stored.documents,
            min(count, self.limit),
            unknown=unknown,
            size=self.size,
        )

    def with_waiting(self, stored: UserHistory, met: Sequence[Behaviour | EventRow]) -> UserHistory:
        """With what waits in the spool, or was told lately, of which Postgres may hold a part."""
        if not met or not stored.allowed:
            return stored
        waiting = self.history(met)
        new = ~(np.isin(waiting.items, stored.history.items) & np.isin(waiting.times, stored.history.times))
        added = History(waiting.items[new], waiting.times[new], waiting.signals[new])
        excluded = np.concatenate([stored.excluded, self.known_rows(self._excluded(met))])
        history, count = _merged(stored.history, added), stored.events + len(met)
        return replace(stored, history=history, excluded=excluded, events=count, waiting=True)

    def history(self, events: Iterable[Behaviour | EventRow]) -> History:
        """Events as rows of the bundle."""
        known = [
            (row, one.at, signal(one.event, one.value, self.settings))
            for one in sorted(events, key=attrgetter("at"))
            if (row := self.rows.get(one.item_id)) is not None
        ]
        if not known:
            return NO_HISTORY
        items, times, signs = zip(*known, strict=True)
        return History(np.array(items, np.int64), np.array(times), np.array(signs, np.float32))

    def _excluded(self, events: Iterable[Behaviour | EventRow]) -> set[str]:
        return {one.item_id for one in events if self.exclusion.holds(one.event, one.value)}

    def _unknown(self, item_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(item for item in item_ids if item not in self.rows)

    def known_rows(self, item_ids: Collection[str]) -> np.ndarray:
        """Int64: the rows of those items that the bundle has."""
        return np.array([row for item in item_ids if (row := self.rows.get(item)) is not None], dtype=np.int64)

    def state(self, stored: UserHistory, context: Sequence[ContextEvent], now: float) -> UserState:
        """The stored history and the context together."""
        history = stored.history
        if context:
            history = _merged(history, self.history(_behaviours(context, now)))
        return UserState(history.items, history.times, history.signals, now, stored.documents)


def _merged(first: History, second: History) -> History:
    """Both by time; what is of one time keeps its order, the first ones first."""
    if not len(second.times):
        return first
    items, signs = np.concatenate([first.items, second.items]), np.concatenate([first.signals, second.signals])
    times = np.concatenate([first.times, second.times])
    if not len(first.times) or first.times[-1] <= second.times[0]:
        return History(items, times, signs)
    order = np.argsort(times, kind="stable")
    return History(items[order], times[order], signs[order])


def _behaviours(context: Sequence[ContextEvent], now: float) -> list[Behaviour]:
    return [Behaviour(one.item_id, one.event, None, now if one.timestamp is None else one.timestamp) for one in context]
