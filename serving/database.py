"""Postgres as the service sees it: there, or away."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from components.store.engine import StoreError, make_engine
from serving.metrics import Metrics

STATEMENT_LIMIT = "SET statement_timeout = '2s'"
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class DatabaseAway(Exception):
    """Postgres did not answer, or not in time."""


class Database:
    """Short transactions; a statement that takes longer than 2 s counts as away.

    servers: the server processes (pid) of the open connections.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self.servers: set[int] = set()
        event.listen(self._engine, "connect", limit_statements)
        event.listen(self._engine, "connect", self._opened)
        event.listen(self._engine, "close", self._closed)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block. Raises DatabaseAway."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout, StoreError, psycopg.OperationalError) as error:
            raise DatabaseAway(str(error).splitlines()[0]) from error

    def close(self) -> None:
        self._engine.dispose()

    def _opened(self, connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
        record.info["server"] = connection.info.backend_pid
        self.servers.add(connection.info.backend_pid)

    def _closed(self, _: psycopg.Connection, record: ConnectionPoolEntry) -> None:
        self.servers.discard(record.info.get("server", 0))


def limit_statements(connection: psycopg.Connection, _: object) -> None:
    connection.execute(STATEMENT_LIMIT)
    connection.commit()


class Session:
    """The database during one request that can do without it: away once, it is not asked again, and that shows."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self.degraded = False

    def ask(self, cause: str, question: Callable[[Connection], Result], otherwise: Result) -> Result:
        """The answer to `question` in a transaction of its own, or `otherwise` when Postgres is away."""
        if self.degraded:
            return otherwise
        try:
            with self._database.begin() as connection:
                return question(connection)
        except DatabaseAway as error:
            self.lacks(cause, error)
            return otherwise

    def lacks(self, cause: str, error: Exception) -> None:
        """Notes that the answer is made without something."""
        self.degraded = True
        self._metrics.degraded.labels(cause).inc()
        logger.warning("degraded, %s: %s", cause, error)
