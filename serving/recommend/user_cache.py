"""In-memory caches: a generic LRU cache, and the cache of user histories with its invalidation."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
MAX_USERS = 20_000
"""Users in the cache; the least recently used is evicted."""
MAX_PENDING_EVENTS = 20
"""Events of a user that are queued until the next read; with more the user is read from Postgres."""
Cached = TypeVar("Cached")
Event = TypeVar("Event")
ApplyEvents = Callable[[Cached, Sequence[Event]], Cached | None]


class LruCache(Generic[Key, Value]):
    """An LRU cache. Thread-safe."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._lock = Lock()
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if (value := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
            return value

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._max_size:
                self._entries.popitem(last=False)


class UserCache(Generic[Cached, Event]):
    """An LRU cache of user histories that is kept current by change notifications. Thread-safe.

    An entry is fresh until its user is invalidated, as long as the change listener is connected (`listening`).
    Outdated entries are kept as fallback while Postgres is away; removed users are dropped entirely. New events are
    queued and applied at the next read: `apply` returns the value with these events, or None if it must be read again.
    """

    def __init__(self, max_size: int = MAX_USERS) -> None:
        self._max_size = max_size
        self._lock = Lock()
        self._cached: OrderedDict[str, Cached] = OrderedDict()
        self._fresh: set[str] = set()
        self._pending: dict[str, list[Event]] = {}
        self._reading: dict[str, object] = {}
        self._writing: Counter[str] = Counter()
        self.listening = False

    def __len__(self) -> int:
        """Number of fresh entries."""
        return len(self._fresh) if self.listening else 0

    def get(self, user_id: str, apply: ApplyEvents[Cached, Event]) -> Cached | None:
        """The user's value, if it is fresh."""
        with self._lock:
            if not self.listening or user_id not in self._fresh:
                return None
            self._cached.move_to_end(user_id)
            if not self._apply_pending(user_id, apply):
                self._invalidate(user_id)
                return None
            return self._cached[user_id]

    def last_known(self, user_id: str, apply: ApplyEvents[Cached, Event]) -> Cached | None:
        """The user's last value, fresh or outdated."""
        with self._lock:
            self._apply_pending(user_id, apply)
            return self._cached.get(user_id)

    def read(self, user_ids: Sequence[str], read: Callable[[], Mapping[str, Cached]]) -> Mapping[str, Cached]:
        """Calls `read` and caches the values of users that do not change meanwhile."""
        ticket = object()
        with self._lock:
            self._reading |= dict.fromkeys(user_ids, ticket)
        values: Mapping[str, Cached] = {}
        try:
            values = read()
        finally:
            with self._lock:
                for user_id in user_ids:
                    if self._reading.get(user_id) is ticket:
                        del self._reading[user_id]
                        if user_id in values and not self._writing[user_id]:
                            self._store(user_id, values[user_id])
        return values

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

    def add_events(self, events: Mapping[str, Sequence[Event]]) -> None:
        """Queues committed events, by user; concurrent reads of these users are not cached."""
        with self._lock:
            for user_id in self._reading.keys() & events.keys():
                del self._reading[user_id]
            for user_id in events.keys() & self._fresh if self.listening else ():
                pending = self._pending.setdefault(user_id, [])
                pending.extend(events[user_id])
                if len(pending) > MAX_PENDING_EVENTS:
                    self._invalidate(user_id)

    def invalidate(self, user_id: str | None) -> None:
        """Marks a user, or with None all users, as outdated."""
        with self._lock:
            self._invalidate(user_id)

    def remove(self, user_id: str | None) -> None:
        """Drops a user, or with None all users."""
        with self._lock:
            self._invalidate(user_id)
            if user_id is None:
                self._cached.clear()
                self._pending.clear()
            else:
                self._cached.pop(user_id, None)
                self._pending.pop(user_id, None)

    def set_listening(self, listening: bool) -> None:
        """Sets whether changes are notified from now on; invalidates all entries, as earlier changes may be missed."""
        with self._lock:
            self._invalidate(None)
            self.listening = listening

    def _store(self, user_id: str, value: Cached) -> None:
        self._cached[user_id] = value
        self._cached.move_to_end(user_id)
        self._pending.pop(user_id, None)
        self._fresh.add(user_id)
        if len(self._cached) > self._max_size:
            oldest, _ = self._cached.popitem(last=False)
            self._pending.pop(oldest, None)
            self._fresh.discard(oldest)

    def _apply_pending(self, user_id: str, apply: ApplyEvents[Cached, Event]) -> bool:
        """Applies the queued events. Returns False if the value must be read again."""
        events = self._pending.pop(user_id, None)
        if not events:
            return True
        value = apply(self._cached[user_id], events)
        if value is not None:
            self._cached[user_id] = value
        return value is not None

    def _invalidate(self, user_id: str | None) -> None:
        if user_id is None:
            self._fresh.clear()
            self._reading.clear()
        else:
            self._fresh.discard(user_id)
            self._reading.pop(user_id, None)
