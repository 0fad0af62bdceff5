"""Recent feedback in memory: it counts at once, even when Postgres cannot be read."""

import pickle
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from components.store.history import Interaction
from components.store.rows import EventRow

MAX_EVENTS, MAX_CHUNKS = 100_000, 10_000
"""Events kept, and chunks (transactions or requests) that hold them; the oldest are dropped."""
Event = tuple[str, str, Interaction]
"""user_id, event_id, and the behaviour."""


@dataclass(frozen=True)
class _Chunk:
    """The events of one transaction or request, pickled.

    A hundred thousand events as objects take 40 MB of scattered memory and cost a sixth of the feedback throughput.

    Attributes:
        users: The user ids, each between two newlines, which no id contains.
        pickled: A list of (user_id, event_id, *Behaviour).
        size: Number of events.
    """

    users: str
    pickled: bytes
    size: int

    def has_user(self, user_id: str) -> bool:
        return f"\n{user_id}\n" in self.users

    def events(self) -> Iterator[Event]:
        for user_id, event_id, *behaviour in pickle.loads(self.pickled):
            yield user_id, event_id, Interaction(*behaviour)


class RecentFeedback:
    """The latest feedback of this process. Thread-safe. Adding is cheap; reading scans all chunks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._chunks: deque[_Chunk] = deque()
        self._count = 0

    def add(self, rows: Collection[EventRow]) -> None:
        """Adds events that were stored or spooled, without their texts, which are not kept in memory."""
        chunk = _chunk([(row.user_id, row.event_id, row.item_id, row.event, row.value, row.at) for row in rows])
        with self._lock:
            self._chunks.append(chunk)
            self._count += chunk.size
            while self._count > MAX_EVENTS or len(self._chunks) > MAX_CHUNKS:
                self._count -= self._chunks.popleft().size

    def of(self, user_id: str) -> Sequence[Interaction]:
        """The user's events; of several with one event_id, the first."""
        with self._lock:
            chunks = [chunk for chunk in self._chunks if chunk.has_user(user_id)]
        events: dict[str, Interaction] = {}
        for chunk in chunks:
            for user, event_id, behaviour in chunk.events():
                if user == user_id:
                    events.setdefault(event_id, behaviour)
        return list(events.values())

    def remove(self, user_id: str | None) -> None:
        """Removes the events of a user, or with None of all users."""
        with self._lock:
            kept = [] if user_id is None else [_without(chunk, user_id) for chunk in self._chunks]
            self._chunks = deque(kept)
            self._count = sum(chunk.size for chunk in kept)


def _chunk(events: Sequence[tuple[str, str, str, str, float | None, float]]) -> _Chunk:
    return _Chunk("\n".join(["", *[event[0] for event in events], ""]), pickle.dumps(events), len(events))


def _without(chunk: _Chunk, user_id: str) -> _Chunk:
    if not chunk.has_user(user_id):
        return chunk
    return _chunk([(user, event_id, *behaviour) for user, event_id, behaviour in chunk.events() if user != user_id])
