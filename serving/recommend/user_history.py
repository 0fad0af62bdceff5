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
    has_spooled: bool = False
    unknown_items: frozenset[str] = frozenset()
    size: int = 0

    @property
    def known(self) -> bool:
        """Whether there is any event."""
        return self.events > 0


EMPTY_HISTORY = UserHistory(NO_HISTORY, NO_HISTORY.items)
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

    def read(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        """Everything committed before this moment, by user."""
        histories = read_histories(connection, user_ids, self.limit)
        active = [user for user, events in histories.items() if events]
        documents = read_documents(connection, active, self.encoder) if active else {}
        excluded = {
            user: read_excluded(connection, user, self.exclusion)
            for user in active
            if len(histories[user]) >= self.limit
        }
        return {
            user: self._read(events, excluded.get(user, set()), documents.get(user)) if events else EMPTY_HISTORY
            for user, events in histories.items()
        }

    def _read(self, events: Sequence[Behaviour], excluded: set[str], documents: np.ndarray | None) -> UserHistory:
        """excluded: by events that may be older."""
        excluded = excluded | self._excluded_ids(events)
        unknown = self._unknown_ids(excluded.union(event.item_id for event in events))
        history, rows = self.history(events), self.rows_of(excluded)
        return UserHistory(history, rows, documents, len(events), unknown_items=unknown, size=self.size)

    def is_valid(self, stored: UserHistory) -> bool:
        """Whether what was read for the bundle with fewer rows, or more, says the same for these."""
        if stored.size == self.size:
            return True
        return stored.size < self.size and not any(item in self.rows for item in stored.unknown_items)

    def with_events(self, stored: UserHistory, events: Sequence[EventRow]) -> UserHistory | None:
        """What Postgres holds once events were added to it; None where that must be read."""
        count = stored.events + len(events)
        unknown = stored.unknown_items | self._unknown_ids(event.item_id for event in events)
        if not stored.allowed or not self.is_valid(stored) or (unknown and count > self.limit):
            return None
        newly_excluded = [row for row in self.rows_of(self._excluded_ids(events)) if not (stored.excluded == row).any()]
        return UserHistory(
            _merged(stored.history, self.history(events)).latest(self.limit),
            np.append(stored.excluded, newly_excluded) if newly_excluded else stored.excluded,
            stored.documents,
            min(count, self.limit),
            unknown_items=unknown,
            size=self.size,
        )

    def with_spooled(self, stored: UserHistory, events: Sequence[Behaviour | EventRow]) -> UserHistory:
        """With what waits in the spool, or was told lately, of which Postgres may hold a part."""
        if not events or not stored.allowed:
            return stored
        spooled = self.history(events)
        new = ~(np.isin(spooled.items, stored.history.items) & np.isin(spooled.times, stored.history.times))
        added = History(spooled.items[new], spooled.times[new], spooled.signals[new])
        excluded = np.concatenate([stored.excluded, self.rows_of(self._excluded_ids(events))])
        history, count = _merged(stored.history, added), stored.events + len(events)
        return replace(stored, history=history, excluded=excluded, events=count, has_spooled=True)

    def history(self, events: Iterable[Behaviour | EventRow]) -> History:
        """Events as rows of the bundle."""
        known = [
            (row, event.at, signal(event.event, event.value, self.settings))
            for event in sorted(events, key=attrgetter("at"))
            if (row := self.rows.get(event.item_id)) is not None
        ]
        if not known:
            return NO_HISTORY
        items, times, signals = zip(*known, strict=True)
        return History(np.array(items, np.int64), np.array(times), np.array(signals, np.float32))

    def _excluded_ids(self, events: Iterable[Behaviour | EventRow]) -> set[str]:
        return {event.item_id for event in events if self.exclusion.holds(event.event, event.value)}

    def _unknown_ids(self, item_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(item for item in item_ids if item not in self.rows)

    def rows_of(self, item_ids: Collection[str]) -> np.ndarray:
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
    items, signals = np.concatenate([first.items, second.items]), np.concatenate([first.signals, second.signals])
    times = np.concatenate([first.times, second.times])
    if not len(first.times) or first.times[-1] <= second.times[0]:
        return History(items, times, signals)
    order = np.argsort(times, kind="stable")
    return History(items[order], times[order], signals[order])


def _behaviours(context: Sequence[ContextEvent], now: float) -> list[Behaviour]:
    return [
        Behaviour(event.item_id, event.event, None, now if event.timestamp is None else event.timestamp)
        for event in context
    ]
