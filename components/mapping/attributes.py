"""SQL of attributes of items: typed values, and why a value does not fit its type."""

from collections.abc import Mapping
from typing import Any

from components.files.sql import literal
from components.files.table import Table
from components.mapping.rules import ColumnRule
from components.mapping.source import column_type, is_float, is_nested
from components.mapping.texts import NULL_NUMBERS, NULL_TEXTS, NULL_WORDS
from components.mapping.times import NUMBER

_TRUE, _FALSE = "('true', '1', 'yes', 'y', 't')", "('false', '0', 'no', 'n', 'f')"
_CURRENCY = r"^(\p{Sc}|[A-Z]{3})\s*|\s*(\p{Sc}|[A-Z]{3})$"
_THOUSANDS = r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?"
_WITH_COMMA = r"[+-]?([0-9]+|[0-9]{1,3}([. ][0-9]{3})+)(,[0-9]+)?"
_WHAT = {"number": "no number", "boolean": "neither true nor false"}
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def declared(table: Table, rule: ColumnRule) -> ColumnRule:
    """A rule with its type; where none is declared, it is that of the column."""
    kind = column_type(table, rule.column or "") or "VARCHAR"
    natural = "boolean" if kind == "BOOLEAN" else "number" if kind in _INTEGERS or is_float(kind) else "text"
    return ColumnRule(rule.column, {"type": natural, **rule.how})


def attribute_null_words(how: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that stand for a missing value."""
    return NULL_TEXTS if how["type"] == "text" else NULL_WORDS + NULL_NUMBERS


def attribute_sql(text: str, how: Mapping[str, Any]) -> str:
    """A value of the declared type; NULL where the text is none.

    Args:
        text: In SQL, without null words.
        how: `type`, and `decimal_comma` of numbers.
    """
    if how["type"] == "text":
        return text
    if how["type"] == "boolean":
        return f"CASE WHEN lower({text}) IN {_TRUE} THEN true WHEN lower({text}) IN {_FALSE} THEN false END"
    bare = f"trim(regexp_replace({text}, {literal(_CURRENCY)}, '', 'g'))"
    if how.get("decimal_comma"):
        point = f"replace(replace(replace({bare}, '.', ''), ' ', ''), ',', '.')"
        plain = f"CASE WHEN regexp_full_match({bare}, {literal(_WITH_COMMA)}) THEN {point} END"
    else:
        plain = (
            f"CASE WHEN regexp_full_match({bare}, {literal(NUMBER)}) THEN {bare}"
            f" WHEN regexp_full_match({bare}, {literal(_THOUSANDS)}) THEN replace({bare}, ',', '') END"
        )
    number = f"TRY_CAST({plain} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def misfit_sql(name: str, text: str, how: Mapping[str, Any]) -> str | None:
    """The reason to reject a row whose value has not the declared type, in SQL."""
    if how["type"] == "text":
        return None
    reason = f"'bad_attributes: {name} is ''' || left({text}, 60) || ''', {_WHAT[how['type']]}'"
    return f"CASE WHEN {text} IS NOT NULL AND {attribute_sql(text, how)} IS NULL THEN {reason} END"


def nested_attribute_sql(name: str, column: str, kind: str) -> str | None:
    """The branch of a CASE that rejects a row whose value is an object or an array, in SQL."""
    if not is_nested(kind):
        return None
    nested = f"coalesce(json_type(to_json({column})) IN ('OBJECT', 'ARRAY'), false)"
    return f"WHEN {nested} THEN 'bad_attributes: {name} is neither text nor a number, nor true or false'"
