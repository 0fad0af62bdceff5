"""The service's connections to Postgres: timeouts, and a circuit breaker."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from components.store.db_errors import Fault, classify_error
from components.store.engine import StoreError, make_engine
from components.store.partitions import KNOWN, Partitioned, ensure_partitions, missing_months
from components.store.timed_connection import CONNECT_SECONDS, TimedConnection
from serving.telemetry.tracing import Traces

MAX_FAILURES = 3
"""Consecutive failures after which the breaker opens."""
logger = logging.getLogger(__name__)
STATEMENT_LIMIT = "SET statement_timeout = '2s'"
TRANSACTION_SECONDS = 5.0
"""Default time limit of a transaction, in seconds."""
LONG_SECONDS = 120.0
"""Time limit of a transaction that reads the whole catalogue or erases a user, in seconds."""
POOL_SECONDS = 2.0


class Breaker:
    """A circuit breaker. Thread-safe. Background polling closes it again, so that no request has to probe.

    Args:
        seconds: A slower response does not count as a success.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failures = 0
        self._lock = Lock()

    @property
    def open(self) -> bool:
        return self._failures >= MAX_FAILURES

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures == MAX_FAILURES:
                logger.warning("Postgres does not answer in time: requests continue without it")

    def answered(self, seconds: float) -> None:
        if seconds > self._seconds:
            return
        with self._lock:
            if self.open:
                logger.warning("Postgres answers again")
            self._failures = 0


class DatabaseAway(Exception):
    """Postgres did not answer, or not in time."""


class DatabaseBusy(DatabaseAway):
    """Postgres is up but cannot do it now; a smaller batch or a later attempt may succeed."""


class Database:
    """A connection pool for short transactions; a statement is cancelled after 2 s and counts as DatabaseAway.

    Connections are not checked before use: an outage is noticed soon, and requests degrade rather than fail.

    Args:
        read_seconds: A slower response does not close the breaker.

    Attributes:
        backend_pids: Postgres backends (pid) of the open connections.
    """

    def __init__(self, url: str, read_seconds: float) -> None:
        self._engine = make_engine(url, pool_seconds=POOL_SECONDS, checked=False)
        self._autocommit_engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self.breaker = Breaker(read_seconds)
        self.backend_pids: set[int] = set()
        event.listen(self._engine, "do_connect", _connect)
        event.listen(self._engine, "connect", limit_statements)
        event.listen(self._engine, "connect", self._opened)
        event.listen(self._engine, "close", self._closed)

    def trace_with(self, traces: Traces) -> None:
        """Traces each statement of a request."""
        traces.watch(self._engine)

    @contextmanager
    def begin(self, seconds: float = TRANSACTION_SECONDS) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block.

        Args:
            seconds: Time limit of the block.

        Raises:
            DatabaseAway: Postgres is unreachable or slow; whether a commit succeeded is then unknown.
            DatabaseBusy: Postgres is up but cannot do it now.
            DBAPIError: The rows themselves are rejected.
        """
        with self._connected(self._engine, seconds) as connection, connection.begin():
            yield connection

    @contextmanager
    def autocommit(self, seconds: float = TRANSACTION_SECONDS) -> Iterator[Connection]:
        """Like `begin`, but in autocommit mode: each statement is a transaction, which saves two round trips."""
        with self._connected(self._autocommit_engine, seconds) as connection:
            yield connection

    @contextmanager
    def _connected(self, engine: Engine, seconds: float) -> Iterator[Connection]:
        started = time.monotonic()
        try:
            with (
                engine.connect() as connection,
                _timed(connection).within(seconds),
                _forget_partitions_on_error(connection),
            ):
                yield connection
        except (DBAPIError, PoolTimeout, StoreError, psycopg.Error) as error:
            fault = classify_error(error)
            if fault is Fault.ROW:
                raise
            self.breaker.failed()
            error_type = DatabaseAway if fault is Fault.AWAY else DatabaseBusy
            raise error_type(str(error).splitlines()[0]) from error
        self.breaker.answered(time.monotonic() - started)

    def ensure_partitions(
        self, connection: Connection, moments: Sequence[datetime], table: Partitioned = "events"
    ) -> None:
        """Creates missing monthly partitions for these times, in separate transactions."""
        if months := missing_months(connection, moments, table):
            ensure_partitions(self.begin, months, table)

    def close(self) -> None:
        self._engine.dispose()

    def _opened(self, connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
        record.info["server"] = connection.info.backend_pid
        self.backend_pids.add(connection.info.backend_pid)

    def _closed(self, _: psycopg.Connection, record: ConnectionPoolEntry) -> None:
        self.backend_pids.discard(record.info.get("server", 0))


@contextmanager
def _forget_partitions_on_error(connection: Connection) -> Iterator[None]:
    """Drops the connection's cache of existing partitions after an error."""
    try:
        yield
    except BaseException:
        if not connection.invalidated:
            connection.info.pop(KNOWN, None)
        raise


def _connect(*args: Any) -> TimedConnection:
    _, _, positional, keywords = args
    return TimedConnection.connect(*positional, **{**keywords, "connect_timeout": CONNECT_SECONDS})


def _timed(connection: Connection) -> TimedConnection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection)
    return driver


def limit_statements(connection: psycopg.Connection, _: object) -> None:
    """Sets the statement timeout of a new connection."""
    connection.execute(STATEMENT_LIMIT)
    connection.commit()
