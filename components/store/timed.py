"""Connections to Postgres that do not wait for ever: a server may be frozen, or behind a network that swallows all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

CONNECT_SECONDS = 2
DEFAULT_TIMEOUT_SECONDS = 1.0
"""For an exchange with the server outside of `within`, such as the look at whether a pooled connection is alive."""
POLL_SECONDS = 0.1
"""How often a wait looks whether it was interrupted."""
Result = TypeVar("Result")


class TimeIsUp(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class TimedConnection(psycopg.Connection[Any]):
    """Raises TimeIsUp when time is up, and is closed then: what the server still does is unknown."""

    _until: float | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """All that happens in this context has so much time together."""
        self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = None

    def wait(self, gen: PQGen[Result], interval: float = POLL_SECONDS, timeout: float | None = None) -> Result:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        now = time.monotonic()
        until = now + DEFAULT_TIMEOUT_SECONDS if self._until is None else self._until
        try:
            return super().wait(gen, interval, max(0.0, until - now))
        except psycopg.OperationalError as error:
            if error.sqlstate is not None or time.monotonic() < until:
                raise
            self.close()
            raise TimeIsUp("it did not answer in time") from error
