"""Whether Postgres is worth asking by somebody who waits."""

from threading import Lock

FAILURES = 3
"""In a row, from which on it is not."""


class Breaker:
    """Any thread may tell and ask. Who asks Postgres at leisure closes it again: no request has to try.

    seconds: an answer that took longer is none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failures = 0
        self._lock = Lock()

    @property
    def open(self) -> bool:
        return self._failures >= FAILURES

    def failed(self) -> None:
        with self._lock:
            self._failures += 1

    def answered(self, seconds: float) -> None:
        if seconds <= self._seconds:
            with self._lock:
                self._failures = 0
