"""Classifies database errors, and stores batches so that one bad row never keeps the others out."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import TypeVar

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from components.core.errors import DuotempoError
from components.store.rows import EventRow, ItemRow, Rejected
from components.store.timed_connection import QueryTimeout

Row = TypeVar("Row")
STORE_ERRORS = (DBAPIError, DuotempoError, ValueError, OverflowError)


class Fault(Enum):
    """The kind of a database error, which determines how to react."""

    AWAY = "away"
    """The server is unreachable, shutting down or out of connections: wait until it is back."""
    TRANSIENT = "passing"
    """The server cannot do it now (timeout, conflict, disk full) or not yet (missing table): retry later, in smaller
    batches."""
    ROW = "row"
    """The server refuses the data (limits, types, integrity): retrying does not help."""


_STATES = {  # by SQLSTATE prefix, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": Fault.AWAY,
    "57P": Fault.AWAY,
    "53300": Fault.AWAY,
    "25": Fault.TRANSIENT,
    "40": Fault.TRANSIENT,
    "42": Fault.TRANSIENT,  # a missing table or column affects all rows: the migrations have not run yet
    "3F": Fault.TRANSIENT,
    "53": Fault.TRANSIENT,
    "55": Fault.TRANSIENT,
    "57014": Fault.TRANSIENT,
    "58": Fault.TRANSIENT,
    "XX": Fault.TRANSIENT,
}


def classify_error(error: BaseException) -> Fault:
    """Classifies an error by its psycopg cause. Errors without one are the row's: it could not be encoded."""
    cause = next((link for link in _chain(error) if isinstance(link, psycopg.Error | PoolTimeout)), None)
    if cause is None:
        return Fault.ROW
    if isinstance(cause, QueryTimeout):
        return Fault.TRANSIENT
    state = None if isinstance(cause, PoolTimeout) else cause.sqlstate
    if state is None:  # refused or lost connections have none, nor do errors that the driver itself raises
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout)
        return Fault.AWAY if lost else Fault.ROW
    return next((fault for prefix, fault in _STATES.items() if state.startswith(prefix)), Fault.ROW)


def named(error: BaseException) -> str:
    """The error's type and SQLSTATE, such as `ProgramLimitExceeded 54000`; its message may quote user data."""
    cause = next((link for link in _chain(error) if isinstance(link, psycopg.Error)), error)
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return f"{type(cause).__name__} {state}" if state else type(cause).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def store_bisecting(
    connection: Connection,
    rows: Sequence[Row],
    store: Callable[[Sequence[Row]], None],
    refused: Callable[[Row, Exception], None],
) -> None:
    """Stores rows in the open transaction; on a row error it bisects the batch to isolate the bad rows.

    Args:
        store: Writes a batch of rows.
        refused: Receives each row that cannot be stored, with its error.

    Raises:
        Exception: Any error that is not a row's; the transaction must be rolled back then.
    """
    if not rows:
        return
    try:
        with connection.begin_nested():
            store(rows)
        return
    except STORE_ERRORS as error:
        if classify_error(error) is not Fault.ROW:
            raise
        if len(rows) == 1:
            refused(rows[0], error)
            return
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        store_bisecting(connection, half, store, refused)


def unstorable(error: Exception) -> str:
    """The rejection reason for a row that the database refuses; quotes nothing of the row."""
    return f"unstorable: the database refuses this row ({named(error)})"


def rejected_row(row: EventRow | ItemRow, error: Exception, index: int = -1) -> Rejected:
    """Like `refused_row`, for a row that the database refuses."""
    return refused_row(row, unstorable(error), index)


def refused_row(row: EventRow | ItemRow, reason: str, index: int = -1) -> Rejected:
    """Converts a cleaned row for quarantine; `index` is that of its raw row, -1 if unknown."""
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._asdict().items()
    }
    return Rejected(index, values, reason)
