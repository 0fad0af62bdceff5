"""A user's history at request time: stored events, spooled events and the context of the request."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
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
    """Events as rows of the bundle, oldest first; events of items that the bundle lacks are left out.

    Attributes:
        items: (events,) int64, rows of the bundle.
        times: (events,) float64, epoch seconds.
        signals: (events,) float32, signed weights.
    """

    items: NDArray[np.int64]
    times: NDArray[np.float64]
    signals: NDArray[np.float32]

    def latest(self, count: int) -> "History":
        """The latest `count` events."""
        return self if len(self.items) <= count else History(*(part[-count:] for part in vars(self).values()))


NO_HISTORY = History(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class UserHistory:
    """A user's history in Postgres and in the spool.

    Attributes:
        history: The latest events.
        excluded: int64 rows of items that are not shown again; may contain duplicates.
        documents: (2, encoder dims) float32, LLM(D_l) and LLM(D_s), or None.
        events: Number of events read.
        allowed: Whether data of this user may be stored.
        has_spooled: Whether some of the events are spooled.
        unknown_items: Items of events or exclusions that the bundle lacks.
        size: Rows of the bundle that it was read for.
    """

    history: History
    excluded: NDArray[np.int64]
    documents: NDArray[np.float32] | None = None
    events: int = 0
    allowed: bool = True
    has_spooled: bool = False
    unknown_items: frozenset[str] = frozenset()
    size: int = 0

    @property
    def known(self) -> bool:
        """Whether the user has any event."""
        return self.events > 0


EMPTY_HISTORY = UserHistory(NO_HISTORY, NO_HISTORY.items)
REFUSED = UserHistory(NO_HISTORY, NO_HISTORY.items, allowed=False)


@dataclass(frozen=True)
class HistoryReader:
    """Reads histories as rows of one bundle.

    Attributes:
        rows: Row of the bundle by item id.
        size: Number of rows.
        limit: Latest events that are read.
        exclusion: Which events exclude an item from being shown again.
    """

    rows: Mapping[str, int]
    size: int
    settings: EventSettings
    encoder: str
    limit: int
    exclusion: Exclusion

    def read(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        """Histories by user, with everything committed so far."""
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

    def _read(
        self, events: Sequence[Behaviour], excluded: set[str], documents: NDArray[np.float32] | None
    ) -> UserHistory:
        """The history of one user.

        Args:
            excluded: Item ids excluded by events older than the ones read.
        """
        excluded = excluded | self._excluded_ids(events)
        unknown = self._unknown_ids(excluded.union(event.item_id for event in events))
        history, rows = self.history(events), self.rows_of(excluded)
        return UserHistory(history, rows, documents, len(events), unknown_items=unknown, size=self.size)

    def is_valid(self, stored: UserHistory) -> bool:
        """Whether a history read for the bundle with another number of rows is still valid for this one."""
        if stored.size == self.size:
            return True
        return stored.size < self.size and not any(item in self.rows for item in stored.unknown_items)

    def with_events(self, stored: UserHistory, events: Sequence[EventRow]) -> UserHistory | None:
        """The history with new events added; None if it must be read from Postgres again."""
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
        """The history with spooled or recent events, some of which Postgres may contain already."""
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

    def rows_of(self, item_ids: Collection[str]) -> NDArray[np.int64]:
        """The int64 rows of the items that are in the bundle."""
        return np.array([row for item in item_ids if (row := self.rows.get(item)) is not None], dtype=np.int64)

    def state(self, stored: UserHistory, context: Sequence[ContextEvent], now: float) -> UserState:
        """The model's input: the history and the context of the request."""
        history = stored.history
        if context:
            history = _merged(history, self.history(_behaviours(context, now)))
        return UserState(history.items, history.times, history.signals, now, stored.documents)


def _merged(first: History, second: History) -> History:
    """Both histories merged by time, stable."""
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
