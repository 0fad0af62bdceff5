"""A user's history at request time: stored events, spooled events and the context of the request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from components.core.columns import EVENTS
from components.histories.signals import RATED, signal
from components.histories.states import UserState
from components.ranking.filters import Exclusion
from components.settings import EventSettings
from components.store.history import Interaction, read_documents, read_histories
from components.store.rows import EventRow
from serving.contract.requests import ContextEvent
from serving.recommend.catalogue import read_excluded

KINDS = {event: kind for kind, event in enumerate(EVENTS)}


@dataclass(frozen=True)
class Timeline:
    """Events, oldest first.

    Attributes:
        items: (events,) int64.
        times: (events,) float64, epoch seconds.
    """

    items: NDArray[np.int64]
    times: NDArray[np.float64]

    def latest(self, count: int) -> Self:
        """The latest `count` events."""
        return self if len(self.times) <= count else type(self)(*(part[-count:] for part in vars(self).values()))

    def merged(self, other: Self) -> Self:
        """The events of both by time, stable."""
        if not len(other.times):
            return self
        parts = [np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)]
        if len(self.times) and self.times[-1] > other.times[0]:
            order = np.argsort(np.concatenate([self.times, other.times]), kind="stable")
            parts = [part[order] for part in parts]
        return type(self)(*parts)


@dataclass(frozen=True)
class Interactions(Timeline):
    """Events as every version can read them.

    Attributes:
        items: Numbers of `ItemNumbers`.
        kinds: (events,) int8, indices of EVENTS.
        values: (events,) float64, NaN where there is none.
    """

    kinds: NDArray[np.int8]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class History(Timeline):
    """Events as one version reads them.

    Attributes:
        items: Rows of the bundle.
        signals: (events,) float32, signed weights.
    """

    signals: NDArray[np.float32]


NO_ITEMS, NO_TIMES = np.zeros(0, np.int64), np.zeros(0)
NO_INTERACTIONS = Interactions(NO_ITEMS, NO_TIMES, np.zeros(0, np.int8), NO_TIMES)
NO_HISTORY = History(NO_ITEMS, NO_TIMES, np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class UserHistory:
    """A user's history in Postgres and in the spool, the same for every version.

    Attributes:
        interactions: The latest events.
        excluded: int64 numbers of items that are not shown again; may contain duplicates.
        documents: (2, encoder dims) float32, LLM(D_l) and LLM(D_s), by encoder.
        events: Number of events read.
        allowed: Whether data of this user may be stored.
        has_spooled: Whether some of the events are spooled.
    """

    interactions: Interactions
    excluded: NDArray[np.int64]
    documents: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    events: int = 0
    allowed: bool = True
    has_spooled: bool = False

    @property
    def known(self) -> bool:
        """Whether the user has any event."""
        return self.events > 0


EMPTY_HISTORY = UserHistory(NO_INTERACTIONS, NO_ITEMS)
REFUSED = UserHistory(NO_INTERACTIONS, NO_ITEMS, allowed=False)


class ItemNumbers:
    """Numbers of item ids, the same for all versions of a process: histories are arrays, not lists of ids. Thread-safe.

    It grows by the items of stored and spooled events, not by what a request names: the spool's size bounds the latter.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: dict[str, int] = {}
        self.ids: list[str] = []
        """Item id by number."""

    def number(self, item_id: str) -> int:
        number = self._numbers.get(item_id)
        if number is None:
            with self._lock:
                number = self._numbers.get(item_id)
                if number is None:
                    number = len(self.ids)
                    self.ids.append(item_id)  # first, so that whoever finds the number finds the id
                    self._numbers[item_id] = number
        return number

    def numbers(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        return np.array([self.number(item_id) for item_id in item_ids], dtype=np.int64)


class BundleView:
    """Histories as one version reads them: rows of its bundle, and signals as in its training. Thread-safe.

    Args:
        rows: Row of the bundle by item id.
        settings: As in the training.
    """

    def __init__(self, rows: Mapping[str, int], numbers: ItemNumbers, encoder: str, settings: EventSettings) -> None:
        self._rows = rows
        self._numbers = numbers
        self._encoder = encoder
        self._settings = settings
        self._by_number = self._rows_from(0)
        self._weights = np.array([signal(event, None, settings) for event in EVENTS], dtype=np.float32)
        self._rated = np.isin(EVENTS, RATED)

    def rows_of(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """The int64 rows of the items that are in the bundle."""
        return np.array([row for item in item_ids if (row := self._rows.get(item)) is not None], dtype=np.int64)

    def excluded(self, stored: UserHistory) -> NDArray[np.int64]:
        """The int64 rows of the items that are not shown again."""
        rows = self._rows_of_numbers(stored.excluded)
        return rows[rows >= 0]

    def state(self, stored: UserHistory, context: Sequence[ContextEvent], now: float) -> UserState:
        """The model's input: the history and the context of the request, without items that the bundle lacks."""
        history = self._history(stored.interactions)
        if context:
            history = history.merged(self._context(context, now))
        return UserState(history.items, history.times, history.signals, now, stored.documents.get(self._encoder))

    def _history(self, interactions: Interactions) -> History:
        rows, weights = self._rows_of_numbers(interactions.items), self._weights[interactions.kinds]
        disliked = self._rated[interactions.kinds] & (interactions.values < self._settings.dislike_below)
        history = History(rows, interactions.times, np.where(disliked, -np.abs(weights), weights))
        present = rows >= 0
        return history if present.all() else History(*(part[present] for part in vars(history).values()))

    def _context(self, context: Sequence[ContextEvent], now: float) -> History:
        present = [
            (now if event.timestamp is None else event.timestamp, row, signal(event.event, None, self._settings))
            for event in context
            if (row := self._rows.get(event.item_id)) is not None
        ]
        if not present:
            return NO_HISTORY
        times, items, signals = zip(*sorted(present, key=itemgetter(0)), strict=True)
        return History(np.array(items, np.int64), np.array(times), np.array(signals, np.float32))

    def _rows_of_numbers(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """-1 for an item that the bundle lacks."""
        by_number = self._by_number
        if len(numbers) and numbers.max() >= len(by_number):
            self._by_number = by_number = np.append(by_number, self._rows_from(len(by_number)))
        rows: NDArray[np.int64] = by_number[numbers]
        return rows

    def _rows_from(self, number: int) -> NDArray[np.int64]:
        return np.array([self._rows.get(item, -1) for item in self._numbers.ids[number:]], dtype=np.int64)


@dataclass(frozen=True)
class HistoryReader:
    """Reads histories from Postgres and adds events to them.

    Attributes:
        encoders: Encoders of the versions, whose document vectors are read.
        limit: Latest events that are read.
        exclusion: Which events exclude an item from being shown again.
    """

    numbers: ItemNumbers
    encoders: set[str]
    limit: int
    exclusion: Exclusion

    def read(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        """Histories by user, with everything committed so far."""
        histories = read_histories(connection, user_ids, self.limit)
        active = [user for user, events in histories.items() if events]
        documents: dict[str, dict[str, NDArray[np.float32]]] = {user: {} for user in active}
        for encoder in self.encoders if active else ():
            for user, vectors in read_documents(connection, active, encoder).items():
                documents[user][encoder] = vectors
        excluded_before = {
            user: read_excluded(connection, user, self.exclusion)
            for user in active
            if len(histories[user]) >= self.limit
        }
        return {
            user: UserHistory(
                self.interactions(events),
                self.numbers.numbers(excluded_before.get(user, set()) | self._excluded_ids(events)),
                documents[user],
                len(events),
            )
            if events
            else EMPTY_HISTORY
            for user, events in histories.items()
        }

    def with_events(self, stored: UserHistory, events: Sequence[EventRow]) -> UserHistory | None:
        """The history with new events added; None if it must be read from Postgres again."""
        if not stored.allowed:
            return None
        excluded = map(self.numbers.number, self._excluded_ids(events))
        newly_excluded = [number for number in excluded if not (stored.excluded == number).any()]
        return UserHistory(
            stored.interactions.merged(self.interactions(events)).latest(self.limit),
            np.append(stored.excluded, newly_excluded) if newly_excluded else stored.excluded,
            stored.documents,
            min(stored.events + len(events), self.limit),
        )

    def with_spooled(self, stored: UserHistory, events: Sequence[Interaction | EventRow]) -> UserHistory:
        """The history with spooled or recent events, some of which Postgres may contain already."""
        if not events or not stored.allowed:
            return stored
        spooled, before = self.interactions(events), stored.interactions
        new = ~(np.isin(spooled.items, before.items) & np.isin(spooled.times, before.times))
        added = Interactions(*(part[new] for part in vars(spooled).values()))
        excluded = np.concatenate([stored.excluded, self.numbers.numbers(self._excluded_ids(events))])
        count = stored.events + len(events)
        return replace(stored, interactions=before.merged(added), excluded=excluded, events=count, has_spooled=True)

    def interactions(self, events: Iterable[Interaction | EventRow]) -> Interactions:
        """The events in the order of time."""
        ordered = sorted(events, key=attrgetter("at"))
        return Interactions(
            self.numbers.numbers(event.item_id for event in ordered),
            np.array([event.at for event in ordered], dtype=np.float64),
            np.array([KINDS[event.event] for event in ordered], dtype=np.int8),
            np.array([np.nan if event.value is None else event.value for event in ordered], dtype=np.float64),
        )

    def _excluded_ids(self, events: Iterable[Interaction | EventRow]) -> set[str]:
        return {event.item_id for event in events if self.exclusion.excludes(event.event, event.value)}
