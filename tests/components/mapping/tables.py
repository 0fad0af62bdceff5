"""Tables of made-up values for the tests of the mapping."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from components.files.table import Column, Table
from components.mapping.functions import register_functions
from components.mapping.rules import ColumnRule, Mapping, Role, RoleMapping
from components.mapping.select import mapped_sql


def connect() -> duckdb.DuckDBPyConnection:
    """A connection that fetches no extensions."""
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "threads": 1}
    )
    register_functions(connection)
    return connection


def texts(connection: duckdb.DuckDBPyConnection, columns: dict[str, Sequence[str | None]], view: str = "file") -> Table:
    """A table of text, as a delimited file gives it."""
    arrow = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    connection.register("columns", arrow)
    connection.execute(f'CREATE OR REPLACE TABLE "{view}" AS SELECT * FROM columns')
    connection.unregister("columns")
    return described(connection, view)


def headerless(connection: duckdb.DuckDBPyConnection, rows: Sequence[Sequence[str | None]]) -> Table:
    """A table of text without a header."""
    table = texts(connection, {f"column{n}": values for n, values in enumerate(zip(*rows, strict=True))})
    return replace(table, header=False)


def query(connection: duckdb.DuckDBPyConnection, sql: str, view: str = "file") -> Table:
    """A table with the types of a query."""
    connection.execute(f'CREATE OR REPLACE TABLE "{view}" AS {sql}')
    return described(connection, view)


def described(connection: duckdb.DuckDBPyConnection, view: str) -> Table:
    rows = connection.execute(f'DESCRIBE "{view}"').fetchall()
    (count,) = connection.execute(f'SELECT count(*) FROM "{view}"').fetchall()[0]
    return Table(view, tuple(Column(row[0], row[1]) for row in rows), "csv", (), True, count)


def mapped(
    connection: duckdb.DuckDBPyConnection, table: Table, mapping: Mapping, role: Role = "events"
) -> list[dict[str, Any]]:
    """The rows of `mapped_sql`."""
    rows = connection.execute(f"SELECT * FROM ({mapped_sql(table, mapping, role)}) ORDER BY row")
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def events(**rules: ColumnRule | str) -> Mapping:
    """A mapping of events."""
    return Mapping(RoleMapping({name: _rule(rule) for name, rule in rules.items()}))


def items(**rules: ColumnRule | str) -> Mapping:
    """A mapping of items."""
    return Mapping(None, RoleMapping({name: _rule(rule) for name, rule in rules.items()}))


def _rule(rule: ColumnRule | str) -> ColumnRule:
    return ColumnRule(rule) if isinstance(rule, str) else rule
