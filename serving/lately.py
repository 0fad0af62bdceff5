"""What people told this process lately: it counts at once, also where Postgres cannot be asked for the rest."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock

from components.store.history import Behaviour
from components.store.rows import EventRow
from serving.live import behaviour

MOST = 100_000
"""Events that are remembered; those of who told longest ago go first."""


class Lately:
    """Any thread may tell and ask."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._told: OrderedDict[str, dict[str, Behaviour]] = OrderedDict()
        self._count = 0

    def tell(self, rows: Iterable[EventRow]) -> None:
        """Events that this process has accepted, or spooled; one that comes again counts once."""
        with self._lock:
            for row in rows:
                told = self._told.setdefault(row.user_id, {})
                self._told.move_to_end(row.user_id)
                if row.event_id not in told:
                    told[row.event_id] = behaviour(row)
                    self._count += 1
            while self._count > self._most:
                _, oldest = self._told.popitem(last=False)
                self._count -= len(oldest)

    def of(self, user_id: str) -> Sequence[Behaviour]:
        with self._lock:
            return list(self._told.get(user_id, {}).values())

    def gone(self, user_id: str | None) -> None:
        """Nothing may be kept of a user, or with None of any."""
        with self._lock:
            if user_id is None:
                self._told.clear()
                self._count = 0
            else:
                self._count -= len(self._told.pop(user_id, {}))
