"""Looks through whole columns to find out how their values read."""

from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from components.files.sql import identifier
from components.files.table import Table
from components.mapping.source import SOURCE, column_sql, column_type
from components.mapping.texts import NULL_NUMBERS, NULL_WORDS, null_words_sql, stripped_sql
from components.mapping.times import (
    ISO,
    ISO_ZONE,
    NUMBER,
    NUMERIC_DATE,
    digits_sql,
    native_time_sql,
)

MIN_FIT = 0.95
"""Share of the values of a column that must have a format for it to be certain; the rows of the others are rejected."""
MAX_WORDS = 200
"""Most event words that are listed."""
_RANGES = {
    "seconds": (1e8, 1e11), "milliseconds": (1e11, 1e14), "microseconds": (1e14, 1e17), "nanoseconds": (1e17, 1e20),
    "spreadsheet": (20_000, 80_000),
}  # fmt: skip
_DIGITS = {"yyyymmddhhmmss": 14, "yyyymmddhhmm": 12, "yyyymmdd": 8, "yyyymm": 6, "year": 4}


@dataclass(frozen=True)
class TimeProfile:
    """How the values of a column read as times.

    Attributes:
        format: The format that most values have; None if no format can be told.
        certain: Whether nothing speaks against it.
        fit: The share of the values that have the format.
        question: What has to be decided, if anything.
        example: A value.
    """

    format: str | None
    certain: bool
    question: str | None = None
    example: str = ""
    fit: float = 1.0


@dataclass(frozen=True)
class NumberProfile:
    """The range of a column of numbers; lowest is that of the values other than 0, NULL if there are none."""

    count: int
    lowest: float | None
    highest: float | None
    zeros: int
    fractions: int
    decimal_commas: int
    negatives: int


def profile_time(connection: DuckDBPyConnection, table: Table, column: str) -> TimeProfile:
    """Finds the format of a column of times."""
    sql, kind = column_sql(table, column), column_type(table, column) or "VARCHAR"
    if native_time_sql(sql, kind, {}):
        return TimeProfile("iso", True)
    numeric = f"regexp_full_match(t, '{NUMBER}')"
    n = f"CASE WHEN {numeric} THEN TRY_CAST(t AS DOUBLE) END"
    dated = f"CASE WHEN regexp_full_match(t, '{NUMERIC_DATE}') THEN t END"
    counts = {
        "all": "count(t)", "numbers": f"count({n})",
        "iso": f"count(*) FILTER (regexp_full_match(t, '{ISO}({ISO_ZONE})?'))",
        "dates": f"count({dated})",
        "first": f"max(TRY_CAST(regexp_extract({dated}, '^([0-9]+)', 1) AS INTEGER))",
        "second": f"max(TRY_CAST(regexp_extract({dated}, '^[0-9]+[-/.]([0-9]+)', 1) AS INTEGER))",
        "points": f"count(*) FILTER (contains(left({dated}, 3), '.'))", "example": "any_value(t)",
        "dated": f"any_value({dated})", "number": f"any_value(t) FILTER ({numeric})",
    }  # fmt: skip
    for name, (lowest, highest) in _RANGES.items():
        counts[name] = f"count(*) FILTER ({n} >= {lowest} AND {n} < {highest})"
    for name, length in _DIGITS.items():
        moment = digits_sql("t", name)
        valid = f"{numeric} AND length(split_part(t, '.', 1)) = {length} AND year({moment}) BETWEEN 1900 AND 2100"
        counts[name] = f"count(*) FILTER ({valid})"
    stats = dict(zip(counts, _aggregate(connection, table, column, ", ".join(counts.values())), strict=True))
    return _time_profile(stats)


def _time_profile(stats: dict[str, Any]) -> TimeProfile:
    example = str(stats["example"] or "")
    if not stats["all"]:
        return TimeProfile(None, False, "holds no value")
    if stats["numbers"] and stats["numbers"] >= stats["dates"]:
        example = str(stats["number"])
        for name in _DIGITS:
            if stats[name] == stats["numbers"]:
                return TimeProfile(name, name not in ("year", "yyyymm"), example=example)
        best = max(_RANGES, key=lambda name: stats[name])
        if stats[best]:
            fit = (stats[best] + stats["iso"]) / stats["all"]
            return TimeProfile(best, fit >= MIN_FIT and best != "spreadsheet", example=example, fit=fit)
        return TimeProfile(None, False, f"numbers such as {example} are no times of a known unit", example)
    if stats["dates"]:
        return _order_profile(stats, str(stats["dated"]))
    fit = stats["iso"] / stats["all"]
    return TimeProfile("iso", fit >= MIN_FIT, example=example, fit=fit)


def _order_profile(stats: dict[str, Any], example: str) -> TimeProfile:
    day_first, month_first = (stats["first"] or 0) > 12, (stats["second"] or 0) > 12
    if day_first and month_first:
        return TimeProfile(None, False, "some dates are day-first, others month-first", example)
    if day_first or month_first:
        return TimeProfile("day-first" if day_first else "month-first", True, example=example)
    if stats["points"] == stats["dates"]:
        return TimeProfile("day-first", False, example=example)
    return TimeProfile(None, False, f"{example} may be day-first or month-first: no value tells them apart", example)


def profile_numbers(connection: DuckDBPyConnection, table: Table, column: str) -> NumberProfile:
    """Finds the range of a column of numbers."""
    commas = "regexp_full_match(t, '[+-]?[0-9.]*,[0-9]+')"
    plain = f"CASE WHEN regexp_full_match(t, '{NUMBER}') THEN t WHEN {commas} THEN replace(t, ',', '.') END"
    n = f"TRY_CAST({plain} AS DOUBLE)"
    expressions = (
        f"count({n}), min({n}) FILTER ({n} <> 0), max({n}), count(*) FILTER ({n} = 0), "
        f"count(*) FILTER ({n} <> trunc({n})), count(*) FILTER ({commas}), count(*) FILTER ({n} < 0)"
    )
    return NumberProfile(*_aggregate(connection, table, column, expressions))


def has_float_ids(connection: DuckDBPyConnection, table: Table, column: str) -> bool:
    """Whether a text column holds whole numbers only, some of them with `.0`."""
    floats = "count(*) FILTER (regexp_full_match(t, '[0-9]+\\.0+'))"
    others = "count(*) FILTER (t IS NOT NULL AND NOT regexp_full_match(t, '[0-9]+(\\.0+)?'))"
    stats = _aggregate(connection, table, column, f"{floats}, {others}")
    return bool(stats[0]) and not stats[1]


def list_separator(connection: DuckDBPyConnection, table: Table, column: str) -> str | None:
    """`comma` or `semicolon` if the texts of a column look like lists separated by it."""
    tests = {
        "other": "regexp_matches(t, '^[\\[{(]|\\||[>›»]')",
        "comma": "regexp_matches(t, '^[^,]{1,40}(, ?[^,]{1,40})+$')",
        "semicolon": "regexp_matches(t, '^[^;]{1,40}(; ?[^;]{1,40})+$')",
    }
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    total, other, comma, semicolon = _aggregate(connection, table, column, f"count(t), {counts}")
    if other or not max(comma, semicolon) > 0.2 * total:
        return None
    return "comma" if comma > semicolon else "semicolon"


def count_words(connection: DuckDBPyConnection, table: Table, column: str) -> dict[str, int]:
    """The words of an event column in lower case with their counts, most frequent first, at most MAX_WORDS."""
    rows = connection.execute(
        f"SELECT lower(t), count(*) FROM ({_texts(table, column)}) WHERE t IS NOT NULL "
        f"GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT {MAX_WORDS}"
    ).fetchall()
    return dict(rows)


def samples(connection: DuckDBPyConnection, table: Table, column: str, count: int = 3) -> tuple[str, ...]:
    """Different values of a column among its first rows."""
    rows = connection.execute(
        f"SELECT DISTINCT t FROM (SELECT t FROM ({_texts(table, column)}) LIMIT 1000) WHERE t IS NOT NULL "
        f"ORDER BY 1 LIMIT {count}"
    ).fetchall()
    return tuple(row[0] for row in rows)


def null_share(connection: DuckDBPyConnection, table: Table, column: str) -> float:
    """The share of missing values, null words included."""
    total, known = _aggregate(connection, table, column, "count(*), count(t)")
    return 1 - known / total if total else 0.0


def first_values(connection: DuckDBPyConnection, table: Table, limit: int) -> list[dict[str, str | None]]:
    """The first rows as text."""
    texts = ", ".join(
        f"{_without_null_words(column_sql(table, column.name), column.type)} AS {identifier(column.name)}"
        for column in table.columns
    )
    rows = connection.execute(f"SELECT {texts} FROM {identifier(table.view)} AS {SOURCE} LIMIT {limit}").fetchall()
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _aggregate(connection: DuckDBPyConnection, table: Table, column: str, expressions: str) -> tuple[Any, ...]:
    return connection.execute(f"SELECT {expressions} FROM ({_texts(table, column)})").fetchall()[0]


def _texts(table: Table, column: str) -> str:
    kind = column_type(table, column) or "VARCHAR"
    text = _without_null_words(column_sql(table, column), kind)
    return f"SELECT {text} AS t FROM {identifier(table.view)} AS {SOURCE}"


def _without_null_words(column: str, kind: str) -> str:
    return null_words_sql(stripped_sql(column, kind), NULL_WORDS + NULL_NUMBERS)
