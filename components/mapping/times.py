"""SQL of times: numbers in any unit, ISO 8601, day-first and month-first dates, as epoch seconds."""

from collections.abc import Mapping
from typing import Any

from components.files.sql import literal
from components.mapping.source import literals

NUMBER = r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?"
ISO_ZONE = r"\s*(Z|z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)"
ISO = r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([T ]+[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)?"
NUMERIC_DATE = r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.]([0-9]{4}|[0-9]{2})([T, ]+[0-9]{1,2}:.*)?"
UNITS = {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
DIGIT_FORMATS = {
    "yyyymmdd": "%Y%m%d", "yyyymmddhhmm": "%Y%m%d%H%M", "yyyymmddhhmmss": "%Y%m%d%H%M%S", "yyyymm": "%Y%m",
    "year": "%Y",
}  # fmt: skip
SPREADSHEET_EPOCH = 25_569
"""1970-01-01 as a serial number of spreadsheets, which count days since 1899-12-30."""
_CLOCKS_24 = (" %H:%M", " %H:%M:%S", "", " %H:%M:%S.%f")
_CLOCKS_12 = (" %I:%M %p", " %I:%M:%S %p")
_ORDERS = {"day-first": "%d/%m", "month-first": "%m/%d"}
_WORD_DATES = (
    "%d %B %y", "%d %B %Y", "%d %b %y", "%d %b %Y", "%d-%b-%y", "%d-%b-%Y", "%B %d, %Y", "%b %d, %Y", "%b. %d, %Y",
    "%m %d, %Y", "%a %b %d %Y", "%A, %B %d, %Y", "%Y-%m", "%Y%m%d", "%Y-%m-%dT%H", "%Y%m%dT%H%M%S",
    "%a %b %d %H:%M:%S %Y", "%Y-%m-%d", "%a, %d %b %Y", "%a %d %b %Y", "%a, %b %d, %Y", "%a, %B %d, %Y",
)  # fmt: skip
_ZONED_DATES = (
    "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%Y%m%dT%H%M%S%z",
    "%Y-%m-%d %H:%M:%S %Z", "%d/%b/%Y:%H:%M:%S %z",
)  # fmt: skip


def time_sql(text: str, how: Mapping[str, Any]) -> str:
    """A text as epoch seconds; NULL where it is no time.

    ISO 8601 is read in every format, because one column may hold both numbers and dates.

    Args:
        text: A stripped text in SQL.
        how: `format` says how numbers or numeric dates read, `timezone` is that of times without one.
    """
    style, zone = how.get("format", "auto"), how.get("timezone")
    order = _ORDERS.get(style)
    numeric = (
        f"WHEN regexp_full_match({text}, '{NUMERIC_DATE}') THEN {_ordered_sql(text, order, zone)}" if order else ""
    )
    return (
        f"CASE WHEN {text} IS NULL THEN NULL "
        f"WHEN regexp_full_match({text}, '{NUMBER}') THEN {_number_sql(text, style, zone)} "
        f"WHEN regexp_full_match({text}, '{ISO}') THEN {_naive_sql(f'TRY_CAST({_iso_sql(text)} AS TIMESTAMP)', zone)} "
        f"WHEN regexp_full_match({text}, '{ISO}{ISO_ZONE}') "
        f"THEN epoch(TRY_CAST({_iso_sql(text)} AS TIMESTAMPTZ)) {numeric} "
        f"ELSE {word_sql(text, zone)} END"
    )


def native_time_sql(column: str, kind: str, how: Mapping[str, Any]) -> str | None:
    """A column of a DuckDB time type as epoch seconds; None for other types."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"CASE WHEN isfinite({column}) THEN epoch({column}) END"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        moment = f"TRY_CAST({column} AS TIMESTAMP)"
        return f"CASE WHEN isfinite({moment}) THEN {_naive_sql(moment, how.get('timezone'))} END"
    return None


def digits_sql(text: str, style: str) -> str:
    """A number such as 20200705 as a timestamp; NULL where it is no date."""
    digits = f"CAST(TRY_CAST(TRY_CAST({text} AS DOUBLE) AS BIGINT) AS VARCHAR)"
    return f"try_strptime({digits}, {literal(DIGIT_FORMATS[style])})"


def _number_sql(text: str, style: str, zone: str | None) -> str:
    number = f"TRY_CAST({text} AS DOUBLE)"
    if style in UNITS:
        return f"{number} / {UNITS[style]:.0f}"
    if style in DIGIT_FORMATS:
        return _naive_sql(digits_sql(text, style), zone)
    if style == "spreadsheet":
        days = f"round(({number} - {SPREADSHEET_EPOCH}) * 86400, 3)"
        bounded = f"CASE WHEN {number} BETWEEN 0 AND 2958466 THEN {days} END"
        return _naive_sql(f"make_timestamp(CAST({bounded} * 1e6 AS BIGINT))", zone)
    return (
        f"CASE WHEN {number} >= 1e17 THEN {number} / 1e9 WHEN {number} >= 1e14 THEN {number} / 1e6 "
        f"WHEN {number} >= 1e11 THEN {number} / 1e3 WHEN {number} >= 1e8 THEN {number} END"
    )


def _iso_sql(text: str) -> str:
    """ISO 8601 as DuckDB casts it: dates with `-`, seconds with a point, the zone without a blank before it."""
    dashed = f"regexp_replace({text}, '^([0-9]{{4}})[/.]([0-9]{{1,2}})[/.]', '\\1-\\2-')"
    pointed = f"regexp_replace({dashed}, '(:[0-9]{{2}}),([0-9])', '\\1.\\2')"
    one_blank = f"regexp_replace({pointed}, '[T ]+([0-9]{{1,2}}:)', ' \\1')"
    return f"regexp_replace(regexp_replace({one_blank}, '\\s*(Z|z|UTC|GMT)$', '+00'), '\\s+([+-][0-9:]+)$', '\\1')"


def _ordered_sql(text: str, order: str, zone: str | None) -> str:
    slashed = f"regexp_replace({text}, '^([0-9]+)[-/.]([0-9]+)[-/.]', '\\1/\\2/')"
    blank = f"regexp_replace({slashed}, '[T, ]+', ' ')"
    moments = {}
    for clocks in (_CLOCKS_12, _CLOCKS_24):
        formats = [f"{order}/{year}{clock}" for year in ("%y", "%Y") for clock in clocks]
        moments[clocks] = _naive_sql(f"try_strptime({blank}, [{literals(formats)}])", zone)
    return f"CASE WHEN regexp_matches({text}, '[AaPp][Mm]$') THEN {moments[_CLOCKS_12]} ELSE {moments[_CLOCKS_24]} END"


def word_sql(text: str, zone: str | None) -> str:
    """A text with the name of a month or a day, or a clock of 12 hours, as epoch seconds."""
    formats = [date + clock for date in _WORD_DATES for clock in (*_CLOCKS_24, *_CLOCKS_12)]
    naive = _naive_sql(f"try_strptime({text}, [{literals(formats)}])", zone)
    return f"coalesce(epoch(try_strptime({text}, [{literals(_ZONED_DATES)}])), {naive})"


def _naive_sql(moment: str, zone: str | None) -> str:
    """Epoch seconds of a timestamp without a zone."""
    return f"epoch({moment} AT TIME ZONE {literal(zone)})" if zone else f"epoch({moment})"
