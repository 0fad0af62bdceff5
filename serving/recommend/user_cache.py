"""What is known of the users who asked lately, in memory, and whether it still holds."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
MOST = 20_000
"""Users who are remembered; the one who asked longest ago goes first."""
MOST_EVENTS = 20
"""Events of a user that wait for the next time they ask; who has more is read then."""
Known = TypeVar("Known")
Event = TypeVar("Event")
After = Callable[[Known, Sequence[Event]], Known | None]


class Recent(Generic[Key, Value]):
    """At most so many; the one asked for longest ago goes first. Any thread may ask and put."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if (value := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
            return value

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


class UserCache(Generic[Known, Event]):
    """Any thread may ask and tell.

    What was read holds until the user is told to have changed, as long as changes are told at all (`following`). What
    holds no more is kept for the time when Postgres is away; of a user who is gone nothing is kept. What happened is
    added when the user is asked for next: `after` says what is known with these events, None where that must be read.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._holds: set[str] = set()
        self._happened: dict[str, list[Event]] = {}
        self._reading: dict[str, object] = {}
        self._writing: Counter[str] = Counter()
        self.following = False

    def __len__(self) -> int:
        """How many are known as they are now."""
        return len(self._holds) if self.following else 0

    def get(self, user_id: str, after: After[Known, Event]) -> Known | None:
        """What is known of a user, if it holds."""
        with self._lock:
            if not self.following or user_id not in self._holds:
                return None
            self._known.move_to_end(user_id)
            if not self._add(user_id, after):
                self._stop_holding(user_id)
                return None
            return self._known[user_id]

    def last(self, user_id: str, after: After[Known, Event]) -> Known | None:
        """What was known of a user last, whether or not it holds."""
        with self._lock:
            self._add(user_id, after)
            return self._known.get(user_id)

    def read(self, user_ids: Sequence[str], read: Callable[[], Mapping[str, Known]]) -> Mapping[str, Known]:
        """Reads what is known of users, and keeps it of those of whom nothing changes meanwhile."""
        ticket = object()
        with self._lock:
            self._reading |= dict.fromkeys(user_ids, ticket)
        found: Mapping[str, Known] = {}
        try:
            found = read()
        finally:
            with self._lock:
                for user_id in user_ids:
                    if self._reading.get(user_id) is ticket:
                        del self._reading[user_id]
                        if user_id in found and not self._writing[user_id]:
                            self._keep(user_id, found[user_id])
        return found

    @contextmanager
    def writing(self, user_ids: Collection[str]) -> Iterator[None]:
        """While active, reads of these users are not cached: they may or may not include the pending commit."""
        with self._lock:
            self._writing.update(user_ids)
        try:
            yield
        finally:
            with self._lock:
                for user_id in user_ids:
                    self._writing[user_id] -= 1
                    if not self._writing[user_id]:
                        del self._writing[user_id]

    def happened(self, events: Mapping[str, Sequence[Event]]) -> None:
        """Events by user that are all that changed of them."""
        with self._lock:
            for user_id in self._reading.keys() & events.keys():
                del self._reading[user_id]
            for user_id in events.keys() & self._holds if self.following else ():
                waiting = self._happened.setdefault(user_id, [])
                waiting.extend(events[user_id])
                if len(waiting) > MOST_EVENTS:
                    self._stop_holding(user_id)

    def changed(self, user_id: str | None) -> None:
        """A user, or with None each of them, is not as known."""
        with self._lock:
            self._stop_holding(user_id)

    def gone(self, user_id: str | None) -> None:
        """Nothing may be kept of a user, or with None of any."""
        with self._lock:
            self._stop_holding(user_id)
            if user_id is None:
                self._known.clear()
                self._happened.clear()
            else:
                self._known.pop(user_id, None)
                self._happened.pop(user_id, None)

    def followed(self, following: bool) -> None:
        """Whether changes are told from now on; those before may have been missed."""
        with self._lock:
            self._stop_holding(None)
            self.following = following

    def _keep(self, user_id: str, known: Known) -> None:
        self._known[user_id] = known
        self._known.move_to_end(user_id)
        self._happened.pop(user_id, None)
        self._holds.add(user_id)
        if len(self._known) > self._most:
            oldest, _ = self._known.popitem(last=False)
            self._happened.pop(oldest, None)
            self._holds.discard(oldest)

    def _add(self, user_id: str, after: After[Known, Event]) -> bool:
        """Adds what happened, if that can be done."""
        events = self._happened.pop(user_id, None)
        if not events:
            return True
        known = after(self._known[user_id], events)
        if known is not None:
            self._known[user_id] = known
        return known is not None

    def _stop_holding(self, user_id: str | None) -> None:
        if user_id is None:
            self._holds.clear()
            self._reading.clear()
        else:
            self._holds.discard(user_id)
            self._reading.pop(user_id, None)
