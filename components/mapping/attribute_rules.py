"""Proposes attributes of items: unread columns with well-known names."""

from collections.abc import Sequence

from duckdb import DuckDBPyConnection

from components.core.columns import MAX_ATTRIBUTE_TEXT
from components.files.sql import identifier
from components.files.table import Table
from components.mapping.attributes import attribute_null_words, attribute_sql
from components.mapping.rules import ColumnRule
from components.mapping.source import SOURCE, column_sql, column_type, is_nested
from components.mapping.synonyms import known_attribute
from components.mapping.texts import null_words_sql, stripped_sql


def propose_attributes(connection: DuckDBPyConnection, table: Table, columns: Sequence[str]) -> dict[str, ColumnRule]:
    """Rules of the attributes among some columns; each has a type that all values of its column have.

    Args:
        columns: Those that nothing else is read from.
    """
    rules: dict[str, ColumnRule] = {}
    for column in columns:
        known = known_attribute(column)
        if known is None or known[0] in rules or is_nested(column_type(table, column) or ""):
            continue
        name, kind = known
        for how in _candidates(kind):
            if _fits(connection, table, column, how):
                rules[name] = ColumnRule(column, how)
                break
    return rules


def _candidates(kind: str) -> list[dict[str, object]]:
    text: dict[str, object] = {"type": "text"}
    return [text] if kind == "text" else [{"type": "number"}, {"type": "number", "decimal_comma": True}, text]


def _fits(connection: DuckDBPyConnection, table: Table, column: str, how: dict[str, object]) -> bool:
    """Whether a column has values, and none of them would be rejected."""
    stripped = stripped_sql(column_sql(table, column), column_type(table, column) or "VARCHAR")
    text = null_words_sql("t", attribute_null_words(how))
    rows = f"SELECT {stripped} AS t FROM {identifier(table.view)} AS {SOURCE}"
    unfit = f"length(t) > {MAX_ATTRIBUTE_TEXT}" if how["type"] == "text" else f"{attribute_sql('t', how)} IS NULL"
    counts = f"SELECT count(t), count(t) FILTER ({unfit}) FROM (SELECT {text} AS t FROM ({rows}))"
    [(values, others)] = connection.execute(counts).fetchall()
    return bool(values) and not others
