"""Whose fault an error of the database is; and many rows in one go, of which one cannot be stored: it goes into
quarantine and never keeps the others out."""

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
from components.store.timed import TimeIsUp

Row = TypeVar("Row")
STORE_ERRORS = (DBAPIError, DuotempoError, ValueError, OverflowError)


class Fault(Enum):
    """What to do about an error."""

    AWAY = "away"
    """The server cannot be reached, ends, or has no connection left: wait until it is back."""
    PASSING = "passing"
    """It answers and cannot do it now (a timeout, a conflict, no room), or not yet (a table is missing): try again
    later, then less at a time."""
    ROW = "row"
    """It does not take what was to be stored (limits, data, integrity): no other try will help."""


_STATES = {  # by the beginning of SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": Fault.AWAY,
    "57P": Fault.AWAY,
    "53300": Fault.AWAY,
    "25": Fault.PASSING,
    "40": Fault.PASSING,
    "42": Fault.PASSING,  # what is missing is missing for all rows: the migrations wait
    "3F": Fault.PASSING,
    "53": Fault.PASSING,
    "55": Fault.PASSING,
    "57014": Fault.PASSING,
    "58": Fault.PASSING,
    "XX": Fault.PASSING,
}


def fault_of(error: BaseException) -> Fault:
    """What is not of the database at all is the row's: it could not be written down."""
    cause = next((one for one in _chain(error) if isinstance(one, psycopg.Error | PoolTimeout)), None)
    if cause is None:
        return Fault.ROW
    if isinstance(cause, TimeIsUp):
        return Fault.PASSING
    state = None if isinstance(cause, PoolTimeout) else cause.sqlstate
    if state is None:  # a connection that was refused or lost bears none, nor does what the driver itself refuses
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout)
        return Fault.AWAY if lost else Fault.ROW
    return next((fault for beginning, fault in _STATES.items() if state.startswith(beginning)), Fault.ROW)


def named(error: BaseException) -> str:
    """The error without what its message may tell of people: `ProgramLimitExceeded 54000`."""
    cause = next((one for one in _chain(error) if isinstance(one, psycopg.Error)), error)
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
    """Stores rows inside the open transaction: together, else by halves, down to the rows that are `refused`.

    Raises what is not the fault of a row; nothing of the transaction can be kept then.
    """
    if not rows:
        return
    try:
        with connection.begin_nested():
            store(rows)
        return
    except STORE_ERRORS as error:
        if fault_of(error) is not Fault.ROW:
            raise
        if len(rows) == 1:
            refused(rows[0], error)
            return
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        store_bisecting(connection, half, store, refused)


def unstorable(error: Exception) -> str:
    """The reason of a row that the database refuses: it quotes nothing of the row."""
    return f"unstorable: the database refuses this row ({named(error)})"


def rejected_row(row: EventRow | ItemRow, error: Exception, index: int = -1) -> Rejected:
    """A cleaned row for quarantine. index: of its raw row, where that is known."""
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._asdict().items()}
    return Rejected(index, told, unstorable(error))
