"""Many rows in one go, and the one that cannot be stored by itself: it never keeps the others out."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from components.core.errors import DuotempoError
from components.store.faults import Fault, fault_of, named
from components.store.rows import EventRow, ItemRow, Rejected

Row = TypeVar("Row")
UNSOUND = (DBAPIError, DuotempoError, ValueError, OverflowError)


def store_apart(
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
    except UNSOUND as error:
        if fault_of(error) is not Fault.ROW:
            raise
        if len(rows) == 1:
            refused(rows[0], error)
            return
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        store_apart(connection, half, store, refused)


def unstorable(error: Exception) -> str:
    """The reason of a row that the database refuses: it quotes nothing of the row."""
    return f"unstorable: the database refuses this row ({named(error)})"


def rejected_row(row: EventRow | ItemRow, error: Exception, index: int = -1) -> Rejected:
    """A cleaned row for quarantine. index: of its raw row, where that is known."""
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._asdict().items()}
    return Rejected(index, told, unstorable(error))
