"""Whether Postgres is worth asking by somebody who waits."""

import logging
from threading import Lock

FAILURES = 3
"""In a row, from which on it is not."""
logger = logging.getLogger(__name__)


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
            if self._failures == FAILURES:
                logger.warning("Postgres does not answer in time: requests do without it")

    def answered(self, seconds: float) -> None:
        if seconds > self._seconds:
            return
        with self._lock:
            if self.open:
                logger.warning("Postgres answers again")
            self._failures = 0
