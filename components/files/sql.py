"""Names, texts and paths as parts of SQL statements."""

import re
from collections.abc import Iterable
from pathlib import Path

import duckdb

from components.files.table import Column

_GLOB = re.compile(r"([*?\[])")


def identifier(name: str) -> str:
    """A quoted name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted text."""
    return "'" + text.replace("'", "''") + "'"


def file_list(files: Iterable[Path]) -> str:
    """A list of paths, in which `*`, `?` and `[` stand for themselves."""
    return "[" + ", ".join(literal(_GLOB.sub(r"[\1]", str(file))) for file in files) + "]"


def column_types(names: Iterable[str], kind: str) -> str:
    """A struct of column names and one type, as DuckDB's readers take it."""
    return "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name in names) + "}"


def create_view(connection: duckdb.DuckDBPyConnection, view: str, query: str) -> tuple[Column, ...]:
    """Creates or replaces a view, and describes its columns."""
    connection.execute(f"CREATE OR REPLACE VIEW {identifier(view)} AS {query}")
    described = connection.execute(f"DESCRIBE {identifier(view)}").fetchall()
    return tuple(Column(name, kind) for name, kind, *_ in described)


def single_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple:
    """The only row of a query's result."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return row
