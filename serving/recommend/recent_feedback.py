"""What people told this process lately: it counts at once, also where Postgres cannot be asked for the rest."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain
from threading import Lock

from components.store.rows import EventRow

MOST, MOST_PARTS = 100_000, 10_000
"""Events that are remembered, and transactions or requests that they came in; the oldest go first."""

Events = Mapping[str, Sequence[EventRow]]
"""By user."""


class RecentFeedback:
    """Any thread may tell and ask. What is told costs next to nothing; asking looks through all parts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: deque[Events] = deque()
        self._count = 0

    def tell(self, events: Events) -> None:
        """What this process has accepted, or spooled, at once."""
        with self._lock:
            self._parts.append(events)
            self._count += _size(events)
            while self._count > MOST or len(self._parts) > MOST_PARTS:
                self._count -= _size(self._parts.popleft())

    def of(self, user_id: str) -> Sequence[EventRow]:
        """Each once, however often it was told, and as it was told first."""
        with self._lock:
            parts = [part[user_id] for part in self._parts if user_id in part]
        told: dict[str, EventRow] = {}
        for event in chain.from_iterable(parts):
            told.setdefault(event.event_id, event)
        return list(told.values())

    def gone(self, user_id: str | None) -> None:
        """Nothing may be kept of a user, or with None of any."""
        with self._lock:
            kept = [] if user_id is None else [_without(part, user_id) for part in self._parts]
            self._parts = deque(kept)
            self._count = sum(map(_size, kept))


def _size(events: Events) -> int:
    return sum(map(len, events.values()))


def _without(events: Events, user_id: str) -> Events:
    return {user: told for user, told in events.items() if user != user_id} if user_id in events else events
