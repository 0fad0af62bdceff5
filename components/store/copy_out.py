"""Streams the result of a query out of Postgres as Arrow batches, by COPY."""

import io
from collections.abc import Iterator
from typing import Any

import psycopg
import pyarrow as pa
from pyarrow import csv
from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects import postgresql

from components.store.engine import is_server_error, store_error

_BLOCK_BYTES = 1 << 20


def copy_batches(connection: Connection, query: Select[Any], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a query in its order, `rows` at a time; the last batch may be smaller.

    Args:
        query: Its columns have the names of the schema: texts, numbers, booleans and times.

    Raises:
        StoreError: The server goes away.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    statement = f"COPY ({_sql(query, schema)}) TO STDOUT (FORMAT csv)"
    try:
        with raw.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            yield from _rebatched(_parsed(_Stream(copy), schema), schema, rows)
    except psycopg.Error as error:
        if not is_server_error(error):
            raise
        raise store_error(connection.engine.url, error) from error


class _Stream(io.RawIOBase):
    """The output of COPY as a readable file."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._parts = iter(copy)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (part := next(self._parts, None)) is not None:
            self._rest = bytes(part)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _sql(query: Select[Any], schema: pa.Schema) -> str:
    """The query with its values in the text, and times as microseconds."""
    rows = query.subquery()
    columns = [
        func.trunc(func.extract("epoch", rows.c[field.name]) * 1_000_000).label(field.name)
        if pa.types.is_timestamp(field.type)
        else rows.c[field.name]
        for field in schema
    ]
    return str(select(*columns).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))


def _parsed(stream: io.RawIOBase, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    types = {field.name: pa.int64() if pa.types.is_timestamp(field.type) else field.type for field in schema}
    buffered = io.BufferedReader(stream, _BLOCK_BYTES)
    if not buffered.peek(1):
        return
    reader = csv.open_csv(
        buffered,
        read_options=csv.ReadOptions(column_names=schema.names, block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    for batch in reader:
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )


def _rebatched(batches: Iterator[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= rows:
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            whole = count // rows * rows
            for start in range(0, whole, rows):
                yield table.slice(start, rows).to_batches()[0]
            waiting = table.slice(whole).to_batches()
            count -= whole
    if count:
        yield pa.Table.from_batches(waiting, schema).combine_chunks().to_batches()[0]
