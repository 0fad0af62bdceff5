"""Postgres connections with timeouts on the client side, for servers that freeze or networks that drop packets."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

CONNECT_SECONDS = 2
DEFAULT_TIMEOUT_SECONDS = 1.0
"""Timeout of an exchange with the server outside of `within`, such as the check of a pooled connection."""
POLL_SECONDS = 0.1
"""How often a wait checks for an interrupt."""
Result = TypeVar("Result")


class QueryTimeout(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class TimedConnection(psycopg.Connection[Any]):
    """Raises TimeIsUp on timeout and closes itself, because the state of the server is unknown then."""

    _until: float | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limits the total time of all exchanges in this context."""
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
            raise QueryTimeout("it did not answer in time") from error
