"""Tables of a DuckDB connection, filled from rows of Python."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from components.core.normalize import json_safe
from components.files.sql import identifier

LEFT_OUT = ("ignored", "return")
"""Codes of rows that the mapping leaves out; they are counted, but no faults of the file."""


def view_columns(connection: DuckDBPyConnection, view: str) -> list[str]:
    """The names of the columns of a view."""
    return [str(name) for name, *_ in connection.execute(f"DESCRIBE {identifier(view)}").fetchall()]


def create_table(connection: DuckDBPyConnection, name: str, schema: pa.Schema) -> None:
    """Creates or replaces an empty table."""
    connection.register("no_rows", schema.empty_table())
    connection.execute(f"CREATE OR REPLACE TABLE {identifier(name)} AS SELECT * FROM no_rows")
    connection.unregister("no_rows")


def insert_rows(connection: DuckDBPyConnection, table: str, schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> None:
    """Appends rows to a table."""
    if rows:
        columns = [pa.array(values, field.type) for field, values in zip(schema, zip(*rows, strict=True), strict=True)]
        connection.register("incoming", pa.Table.from_arrays(columns, schema=schema))
        connection.execute(f"INSERT INTO {identifier(table)} SELECT * FROM incoming")
        connection.unregister("incoming")


def with_raw(row: Mapping[str, Any], raw: str) -> dict[str, Any]:
    """A rejected row for quarantine: what was read of it, and the columns of the file as they stand.

    Args:
        raw: The columns of the file as JSON.
    """
    given = json.loads(raw)
    return json_safe({**{name: value for name, value in row.items() if value is not None}, **given})


def counts_by_code(connection: DuckDBPyConnection, table: str) -> dict[str, int]:
    """The numbers of rejected rows of a table by error code, most frequent first."""
    counts = f"SELECT split_part(reason, ':', 1), count(*) FROM {identifier(table)} GROUP BY 1 ORDER BY 2 DESC, 1"
    return dict(connection.execute(counts).fetchall())


def example_rows(connection: DuckDBPyConnection, table: str) -> dict[str, tuple[int, str, str]]:
    """The first rejected row of each error code: its number in the file, its reason and its content as JSON."""
    firsts = (
        f"SELECT split_part(reason, ':', 1), arg_min(row, arrival), arg_min(reason, arrival), arg_min(raw, arrival)"
        f" FROM {identifier(table)} GROUP BY 1"
    )
    return {code: (row, reason, raw) for code, row, reason, raw in connection.execute(firsts).fetchall()}
