"""Postgres as the service sees it: there, or away."""

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

from components.store.engine import StoreError, make_engine
from components.store.faults import Fault, fault_of
from components.store.partitions import KNOWN, Partitioned, ensure_partitions, missing_months
from components.store.timed import CONNECT_SECONDS, TimedConnection
from serving.telemetry.tracing import Traces

MAX_FAILURES = 3
"""In a row, from which on it is not."""
logger = logging.getLogger(__name__)
STATEMENT_LIMIT = "SET statement_timeout = '2s'"
TRANSACTION_SECONDS = 5.0
"""Time of a transaction for which nobody waits."""
LONG_SECONDS = 120.0
"""Time of one that reads the whole catalogue, or erases."""
POOL_SECONDS = 2.0


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
        return self._failures >= MAX_FAILURES

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures == MAX_FAILURES:
                logger.warning("Postgres does not answer in time: requests do without it")

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
    """Postgres is there and could not do it now; less at a time, or later, it may."""


class Database:
    """Short transactions; a statement that takes longer than 2 s counts as away.

    A connection is lent unchecked: that Postgres went away is told soon, and what finds it first can do without.

    read_seconds: an answer that takes longer is none to who waits. servers: the server processes (pid) of the open
    connections.
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
        """Has each statement of a request told."""
        traces.watch(self._engine)

    @contextmanager
    def begin(self, seconds: float = TRANSACTION_SECONDS) -> Iterator[Connection]:
        """A transaction, committed at the end of the block, which has so much time. Raises DatabaseAway: whether what
        was committed last is stored is then unknown. What Postgres has against the rows is raised as it is."""
        with self._connected(self._engine, seconds) as connection, connection.begin():
            yield connection

    @contextmanager
    def autocommit(self, seconds: float = TRANSACTION_SECONDS) -> Iterator[Connection]:
        """As `begin`, but each statement is a transaction of its own: two ways to the server and back less."""
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
            fault = fault_of(error)
            if fault is Fault.ROW:
                raise
            self.breaker.failed()
            error_type = DatabaseAway if fault is Fault.AWAY else DatabaseBusy
            raise error_type(str(error).splitlines()[0]) from error
        self.breaker.answered(time.monotonic() - started)

    def ensure_partitions(
        self, connection: Connection, moments: Sequence[datetime], table: Partitioned = "events"
    ) -> None:
        """Has the partitions of these moments made, in transactions of their own, where the connection lacks one."""
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
    """After an error the connection asks anew which partitions there are."""
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
    connection.execute(STATEMENT_LIMIT)
    connection.commit()
