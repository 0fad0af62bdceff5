"""What the mapping needs to know of a table, and the parts of SQL made of its columns."""

from collections.abc import Sequence

from components.core.errors import DuotempoError
from components.files.names import join_names
from components.files.sql import identifier, literal
from components.files.table import Table

BLANKS = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\ufeff\u200b"
"""Characters stripped from both ends of every value."""
SOURCE, ELEMENT = "duotempo_source", "duotempo_element"
"""Names in SQL of the table that is read, and of an element of the array whose elements are rows."""


class MappingError(DuotempoError):
    """A mapping does not fit a table; the message names the column and the columns there are."""


def literals(texts: Sequence[str]) -> str:
    """A list of texts in SQL, without brackets."""
    return ", ".join(map(literal, texts))


def shown_columns(table: Table) -> str:
    """The columns of a table for a message."""
    return join_names(column.name for column in table.columns)


def column_type(table: Table, column: str) -> str | None:
    """The DuckDB type of a column, JSON for a path such as `properties.product_id`; None if there is no such column."""
    types = {known.name: known.type for known in table.columns}
    if column in types:
        return types[column]
    root, dot, _ = column.partition(".")
    return "JSON" if dot and is_nested(types.get(root, "")) else None


def column_sql(table: Table, column: str, element: str | None = None) -> str:
    """A column, or a path into a nested column, in SQL.

    Args:
        element: The column whose array elements are rows of their own; paths into it start at an element.
    """
    if any(known.name == column for known in table.columns):
        return ELEMENT if column == element else f"{SOURCE}.{identifier(column)}"
    root, _, path = column.partition(".")
    keys = "".join("." + identifier(key) for key in path.split("."))
    start = ELEMENT if root == element else f"{SOURCE}.{identifier(root)}"
    return f"json_extract(to_json({start}), {literal('$' + keys)})"


def is_nested(kind: str) -> bool:
    """Whether values of a DuckDB type may hold others: JSON, structs, lists and maps."""
    return kind == "JSON" or kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))


def is_float(kind: str) -> bool:
    """Whether a DuckDB type may turn whole numbers into numbers with `.0`."""
    return kind in ("DOUBLE", "FLOAT", "REAL") or kind.startswith("DECIMAL")
