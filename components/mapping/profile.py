"""Looks through whole columns to find out how their values read."""

from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import Any, Literal

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
    word_sql,
)
from components.mapping.values import without_currency_sql

MIN_FIT = 0.95
"""Share of the values of a column that must have a format for it to be certain; the rows of the others are rejected."""
MAX_WORDS = 200
"""Most event words that are listed."""
Kind = Literal["time", "number", "id", "list", "text"]
"""What is found out about a column."""
_RANGES = {
    "seconds": (1e8, 1e11), "milliseconds": (1e11, 1e14), "microseconds": (1e14, 1e17), "nanoseconds": (1e17, 1e20),
    "spreadsheet": (20_000, 80_000),
}  # fmt: skip
_DECIMAL_COMMA = "[+-]?([0-9]*|[0-9]{1,3}([. ][0-9]{3})+),[0-9]+"
_GROUPED = "[+-]?[0-9]{1,3}(,[0-9]{3})+([.][0-9]*)?"
_AMBIGUOUS_COMMA = "[+-]?[1-9][0-9]{0,2},[0-9]{3}"
"""Numbers such as 1,234: with a decimal comma, or with thousands set apart."""
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
    """The range of a column of numbers; lowest is that of the values other than 0, NULL if there are none.

    Attributes:
        decimal_commas: Numbers such as 1,5 or 1.234,56.
        grouped: Numbers such as 1,234.56 or 1,234,567.
        ambiguous: A number such as 1,234, which may be either.
    """

    count: int
    lowest: float | None
    highest: float | None
    zeros: int
    fractions: int
    decimal_commas: int
    grouped: int
    ambiguous: str | None
    negatives: int


@dataclass(frozen=True)
class ColumnProfile:
    """What a column holds.

    Attributes:
        null_share: The share of missing values, null words included.
        time: Of a column of times.
        numbers: Of a column of numbers.
        float_ids: Whether a text column of ids holds whole numbers only, some of them with `.0`.
        separator: `comma` or `semicolon` if the texts of a column look like lists separated by it.
    """

    null_share: float
    time: TimeProfile | None = None
    numbers: NumberProfile | None = None
    float_ids: bool = False
    separator: str | None = None


def profile_columns(
    connection: DuckDBPyConnection, table: Table, columns: Dict[str, tuple[str, Kind]]
) -> dict[str, ColumnProfile]:
    """Profiles several columns in one scan.

    Args:
        columns: Column and what to find out, by keys of the caller's choice, which are those of the result.
    """
    if not columns:
        return {}
    scans = [_Scan(table, column, kind, number) for number, (column, kind) in enumerate(columns.values())]
    # one level each, so that the expressions do not multiply
    texts = ", ".join(scan.text for scan in scans)
    sql = f"SELECT {texts} FROM {identifier(table.view)} AS {SOURCE}"
    for level in ("numbers", "lengths"):
        parts = [part for scan in scans if (part := getattr(scan, level))]
        sql = f"SELECT {', '.join(['*', *parts])} FROM ({sql})"
    aggregates = ", ".join(sql for scan in scans for sql in scan.aggregates.values())
    row = iter(connection.execute(f"SELECT {aggregates} FROM ({sql})").fetchall()[0])
    found = [scan.profile({name: next(row) for name in scan.aggregates}) for scan in scans]
    return dict(zip(columns, found, strict=True))


def count_words(connection: DuckDBPyConnection, table: Table, column: str) -> dict[str, int]:
    """The words of an event column in lower case with their counts, most frequent first, at most MAX_WORDS."""
    kind = column_type(table, column) or "VARCHAR"
    given = f"SELECT {column_sql(table, column)} AS given, count(*) AS rows FROM {identifier(table.view)} AS {SOURCE}"
    rows = connection.execute(
        f"SELECT lower({_without_null_words('given', kind)}) AS word, CAST(sum(rows) AS BIGINT) "
        f"FROM ({given} GROUP BY ALL) GROUP BY word HAVING word IS NOT NULL ORDER BY 2 DESC, 1 LIMIT {MAX_WORDS}"
    ).fetchall()
    return dict(rows)


def samples(
    connection: DuckDBPyConnection, table: Table, columns: Dict[str, str], count: int = 3
) -> dict[str, tuple[str, ...]]:
    """Different values of columns among their first rows, by the keys of `columns`."""
    if not columns:
        return {}
    texts = ", ".join(_text_sql(table, column) for column in columns.values())
    rows = connection.execute(f"SELECT {texts} FROM {identifier(table.view)} AS {SOURCE} LIMIT 1000").fetchall()
    values = ({value for value in column if value is not None} for column in zip(*rows, strict=True))
    return {key: tuple(sorted(found)[:count]) for key, found in zip(columns, values, strict=False)}


def first_values(connection: DuckDBPyConnection, table: Table, limit: int) -> list[dict[str, str | None]]:
    """The first rows as text."""
    texts = ", ".join(
        f"{_without_null_words(column_sql(table, column.name), column.type)} AS {identifier(column.name)}"
        for column in table.columns
    )
    rows = connection.execute(f"SELECT {texts} FROM {identifier(table.view)} AS {SOURCE} LIMIT {limit}").fetchall()
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


class _Scan:
    """What is found out about one column: SQL in which `t` is its text, `n` its number and `d` its numeric date."""

    def __init__(self, table: Table, column: str, kind: Kind, number: int) -> None:
        sql, self._type = column_sql(table, column), column_type(table, column) or "VARCHAR"
        self._kind = kind
        t, n, d, digits = (f"{letter}{number}" for letter in ("t", "n", "d", "l"))
        self.text = f"{_without_null_words(sql, self._type)} AS {t}"
        self.numbers = self.lengths = ""
        self.aggregates = {"rows": "count(*)", "known": f"count({t})"}
        if kind == "time" and not native_time_sql(sql, self._type, {}):
            numeric = f"regexp_full_match({t}, '{NUMBER}')"
            self.numbers = (
                f"CASE WHEN {numeric} THEN TRY_CAST({t} AS DOUBLE) END AS {n}, "
                f"CASE WHEN regexp_full_match({t}, '{NUMERIC_DATE}') THEN {t} END AS {d}"
            )
            self.lengths = f"CASE WHEN {n} IS NOT NULL THEN length(split_part({t}, '.', 1)) END AS {digits}"
            self.aggregates |= _time_aggregates(t, n, d, digits)
        elif kind == "number":
            numeric, other = f"regexp_full_match({t}, '{NUMBER}')", without_currency_sql(t)
            commas, grouped, ambiguous = (
                f"regexp_full_match({d}, '{pattern}')" for pattern in (_DECIMAL_COMMA, _GROUPED, _AMBIGUOUS_COMMA)
            )
            pointed = f"replace(replace({d}, '.', ''), ',', '.')"
            plain = f"CASE WHEN {grouped} THEN replace({d}, ',', '') WHEN {commas} THEN {pointed} ELSE {d} END"
            self.numbers = f"CASE WHEN NOT {numeric} THEN {other} END AS {d}"
            self.lengths = (
                f"CASE WHEN {d} IS NULL THEN TRY_CAST({t} AS DOUBLE) ELSE TRY_CAST({plain} AS DOUBLE) END AS {n}"
            )
            self.aggregates |= {
                "count": f"count({n})", "lowest": f"min({n}) FILTER ({n} <> 0)", "highest": f"max({n})",
                "zeros": f"count(*) FILTER ({n} = 0)", "fractions": f"count(*) FILTER ({n} <> trunc({n}))",
                "decimal_commas": f"count(*) FILTER ({commas} AND NOT {ambiguous})",
                "grouped": f"count(*) FILTER ({grouped} AND NOT {ambiguous})",
                "ambiguous": f"min({d}) FILTER ({ambiguous})", "negatives": f"count(*) FILTER ({n} < 0)",
            }  # fmt: skip
        elif kind == "id" and self._type == "VARCHAR":
            self.aggregates["floats"] = f"count(*) FILTER (regexp_full_match({t}, '[0-9]+\\.0+'))"
            whole = f"regexp_full_match({t}, '[0-9]+(\\.0+)?')"
            self.aggregates["others"] = f"count(*) FILTER ({t} IS NOT NULL AND NOT {whole})"
        elif kind == "list" and self._type == "VARCHAR":
            tests = {
                "others": "^[\\[{(]|\\||[>›»]", "comma": "^[^,]{1,40}(, ?[^,]{1,40})+$",
                "semicolon": "^[^;]{1,40}(; ?[^;]{1,40})+$",
            }  # fmt: skip
            self.aggregates |= {
                name: f"count(*) FILTER (regexp_matches({t}, '{test}'))" for name, test in tests.items()
            }

    def profile(self, stats: dict[str, Any]) -> ColumnProfile:
        """The profile by the values of the aggregates."""
        rows, known = stats["rows"], stats["known"]
        profile = ColumnProfile(1 - known / rows if rows else 0.0)
        if self._kind == "time":
            return replace(profile, time=_time_profile(stats) if "iso" in stats else TimeProfile("iso", True))
        if self._kind == "number":
            numbers = {item.name: stats[item.name] for item in dataclass_fields(NumberProfile)}
            return replace(profile, numbers=NumberProfile(**numbers))
        if "floats" in stats:
            return replace(profile, float_ids=bool(stats["floats"]) and not stats["others"])
        if "comma" in stats and not stats["others"] and max(stats["comma"], stats["semicolon"]) > 0.2 * known:
            return replace(profile, separator="comma" if stats["comma"] > stats["semicolon"] else "semicolon")
        return profile


def _time_aggregates(t: str, n: str, d: str, digits: str) -> dict[str, str]:
    iso = f"regexp_full_match({t}, '{ISO}({ISO_ZONE})?')"
    counts = {
        "numbers": f"count({n})",
        "iso": f"count(*) FILTER (CASE WHEN {n} IS NULL THEN {iso} END)",
        "words": f"count(CASE WHEN {n} IS NULL AND {d} IS NULL AND NOT {iso} THEN {word_sql(t, None)} END)",
        "clocks": f"count(*) FILTER (regexp_full_match({t}, '[0-9]{{1,2}}:[0-9]{{2}}(:.*)?'))", "dates": f"count({d})",
        "first": f"max(TRY_CAST(regexp_extract({d}, '^([0-9]+)', 1) AS INTEGER))",
        "second": f"max(TRY_CAST(regexp_extract({d}, '^[0-9]+[-/.]([0-9]+)', 1) AS INTEGER))",
        "points": f"count(*) FILTER (contains(left({d}, 3), '.'))", "example": f"any_value({t})",
        "dated": f"any_value({d})", "number": f"any_value({t}) FILTER ({n} IS NOT NULL)",
    }  # fmt: skip
    for name, (lowest, highest) in _RANGES.items():
        counts[name] = f"count(*) FILTER ({n} >= {lowest} AND {n} < {highest})"
    for name, length in _DIGITS.items():
        moment = digits_sql(t, name)
        counts[name] = f"count(*) FILTER (CASE WHEN {digits} = {length} THEN year({moment}) BETWEEN 1900 AND 2100 END)"
    return counts


def _time_profile(stats: dict[str, Any]) -> TimeProfile:
    example = str(stats["example"] or "")
    if not stats["known"]:
        return TimeProfile(None, False, "holds no value")
    if stats["numbers"] and stats["numbers"] >= stats["dates"]:
        example = str(stats["number"])
        for name in _DIGITS:
            if stats[name] == stats["numbers"]:
                return TimeProfile(name, name not in ("year", "yyyymm"), example=example)
        best = max(_RANGES, key=lambda name: stats[name])
        if stats[best]:
            fit = (stats[best] + stats["iso"]) / stats["known"]
            return TimeProfile(best, fit >= MIN_FIT and best != "spreadsheet", example=example, fit=fit)
        return TimeProfile(None, False, f"numbers such as {example} are no times of a known unit", example)
    if stats["dates"]:
        return _order_profile(stats, str(stats["dated"]))
    if stats["clocks"]:
        return TimeProfile(None, False, f"holds times of day ({example}): join them with the dates in one column")
    fit = (stats["iso"] + stats["words"]) / stats["known"]
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


def _text_sql(table: Table, column: str) -> str:
    return _without_null_words(column_sql(table, column), column_type(table, column) or "VARCHAR")


def _without_null_words(column: str, kind: str) -> str:
    return null_words_sql(stripped_sql(column, kind), NULL_WORDS + NULL_NUMBERS)
