"""SQL of values: ratings on one scale, quantities with returns, prices, counts and dwell times."""

from collections.abc import Mapping
from typing import Any

from components.files.sql import literal
from components.mapping.source import BLANKS
from components.mapping.times import NUMBER

STARS = 5
"""Highest rating as it is stored: stars of 5."""


def value_sql(text: str, how: Mapping[str, Any]) -> str:
    """A value as text; what is no number stays as it is, and cleaning rejects it.

    Args:
        text: The stripped value in SQL.
        how: `scale` is the lowest and the highest rating of the file: it is converted to stars of 5, from 0 up by the
            ratio of the highest ratings, below 0 by the whole range. `divide` is for units such as milliseconds.
    """
    plain = plain_sql(text, how)
    number = f"TRY_CAST({plain} AS DOUBLE)"
    converted = plain
    if (scale := how.get("scale")) and scale[1] != STARS:
        lowest, highest = min(scale[0], 0), scale[1]
        stars = f"({number} - {lowest!r}) * {STARS} / {highest - lowest!r}"
        converted = f"CASE WHEN {_is_number(plain)} THEN CAST({stars} AS VARCHAR) ELSE {plain} END"
    elif divide := how.get("divide"):
        converted = f"CASE WHEN {_is_number(plain)} THEN CAST({number} / {divide!r} AS VARCHAR) ELSE {plain} END"
    if how.get("zero_is_missing"):
        return f"CASE WHEN {_is_number(plain)} AND {number} = 0 THEN NULL ELSE {converted} END"
    return converted


def value_rejection_sql(text: str, how: Mapping[str, Any]) -> str | None:
    """The reason why a row is left out for its value, in SQL; None if there is none."""
    plain = plain_sql(text, how)
    number = f"TRY_CAST({plain} AS DOUBLE)"
    if how.get("kind") == "quantity":
        reason = f"'return: a quantity of ' || {text} || ' is a return, no purchase'"
        return f"CASE WHEN {_is_number(plain)} AND {number} < 0 THEN {reason} END"
    if scale := how.get("scale"):
        lowest, highest = scale
        reason = f"'value_out_of_scale: ' || {text} || ' is not within {lowest!r} and {highest!r}'"
        missing = f" AND {number} <> 0" if how.get("zero_is_missing") else ""
        outside = f"{number} NOT BETWEEN {lowest!r} AND {highest!r}"
        return f"CASE WHEN {_is_number(plain)} AND {outside}{missing} THEN {reason} END"
    return None


def plain_sql(text: str, how: Mapping[str, Any]) -> str:
    """A number without a currency, in the notation with a decimal point."""
    if how.get("kind") == "price":
        text = without_currency_sql(text)
    if how.get("decimal_comma"):
        return f"replace(replace(replace({text}, '.', ''), ' ', ''), ',', '.')"
    return f"replace({text}, ',', '')" if how.get("kind") == "price" or "decimal_comma" in how else text


def without_currency_sql(text: str) -> str:
    """A text without signs and codes of currencies and the blanks around them."""
    return f"trim(regexp_replace({text}, '\\p{{Sc}}|[A-Z]{{3}}', '', 'g'), {literal(BLANKS)})"


def _is_number(text: str) -> str:
    return f"coalesce(regexp_full_match({text}, '{NUMBER}'), false)"
