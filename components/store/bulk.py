"""Bulk transfer: COPY, Postgres array literals, and the Arrow schemas of the event and item frames."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from sqlalchemy import Connection

from components.core.columns import Columns
from components.store.engine import is_server_error, store_error

_SEPARATOR = "\x00"
"""Cannot occur in a Postgres text."""
_TIMESTAMP = pa.timestamp("us", tz="UTC")
EVENT_SCHEMA = pa.schema(
    [
        pa.field(Columns.EVENT_ID, pa.string(), nullable=False),
        pa.field(Columns.USER, pa.string(), nullable=False),
        pa.field(Columns.ITEM, pa.string(), nullable=False),
        pa.field(Columns.EVENT, pa.string(), nullable=False),
        pa.field(Columns.VALUE, pa.float64()),
        pa.field(Columns.TEXT, pa.string()),
        pa.field(Columns.OCCURRED_AT, _TIMESTAMP, nullable=False),
        pa.field(Columns.SESSION, pa.string()),
        pa.field(Columns.REQUEST, pa.string()),
        pa.field(Columns.MODEL_VERSION, pa.string()),
        pa.field(Columns.VARIANT, pa.string()),
        pa.field(Columns.SOURCE, pa.string(), nullable=False),
    ]
)
ITEM_SCHEMA = pa.schema(
    [
        pa.field(Columns.ITEM, pa.string(), nullable=False),
        pa.field(Columns.TITLE, pa.string(), nullable=False),
        pa.field(Columns.DESCRIPTION, pa.string(), nullable=False),
        pa.field(Columns.CATEGORY, pa.list_(pa.string()), nullable=False),
        pa.field(Columns.AVAILABLE, pa.bool_(), nullable=False),
        pa.field(Columns.PUBLISHED_AT, _TIMESTAMP),
        pa.field(Columns.IMAGE, pa.string()),
        pa.field(Columns.CREATOR, pa.string()),
        pa.field(Columns.ATTRIBUTES, pa.string(), nullable=False),
        pa.field(Columns.CONTENT_HASH, pa.string(), nullable=False),
    ]
)
EVENT_COLUMNS: list[str] = EVENT_SCHEMA.names
ITEM_COLUMNS: list[str] = ITEM_SCHEMA.names


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Copies rows into a table. Raises StoreError when the server goes away or runs out of room."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        if not is_server_error(error):
            raise
        raise store_error(connection.engine.url, error) from error


def text_array(values: Sequence[str | None]) -> str | None:
    """Builds a text[] literal; None when all values are None, for which `unnest` beside other arrays gives NULLs.

    Raises:
        ValueError: A text contains the character 0, which Postgres cannot hold.
    """
    texts = [value for value in values if value is not None]
    if not texts:
        return None
    joined = _SEPARATOR.join(texts)
    if joined.count(_SEPARATOR) != len(texts) - 1:
        raise ValueError("a text holds the character 0")
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"').replace(_SEPARATOR, f'"{_SEPARATOR}"')
    if len(texts) == len(values):
        return f'{{"{quoted.replace(_SEPARATOR, ",")}"}}'
    literals = iter(f'"{quoted}"'.split(_SEPARATOR))
    return f"{{{','.join('NULL' if value is None else next(literals) for value in values)}}}"


def number_array(values: Sequence[float | None]) -> str | None:
    """Builds a float8[] or bigint[] literal; None as for `text_array`."""
    if all(value is None for value in values):
        return None
    return f"{{{','.join('NULL' if value is None else repr(value) for value in values)}}}"


def time_array(values: Iterable[datetime]) -> str:
    """Builds a float8[] literal of epoch seconds for `to_timestamp`, exact to the microsecond until the year 2106.

    The times must be timezone-aware.
    """
    return f"{{{','.join(map(repr, map(datetime.timestamp, values)))}}}"
