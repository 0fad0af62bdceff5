from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from components.mapping.propose import propose
from components.mapping.rules import ColumnRule
from tests.components.mapping.tables import connect, events, mapped, query, texts


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def read(values: Sequence[str | None], **how: Any) -> list[float | None]:
    connection = connect()
    table = texts(connection, {"t": values})
    return [row["timestamp"] for row in mapped(connection, table, events(timestamp=ColumnRule("t", how)))]


def proposed(values: Sequence[str | None]) -> tuple[str | None, str, tuple[str, ...]]:
    connection = connect()
    table = texts(connection, {"user_id": ["u"] * len(values), "timestamp": values})
    proposal = propose(connection, table, "events")
    rule = proposal.mapping.role("events").fields["timestamp"]
    asked = tuple(str(question) for question in proposal.questions if question.what.startswith("timestamp"))
    return rule.how.get("format"), proposal.confidence["timestamp"], asked


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2020-07-05", "2020-07-05"),
        ("2020-07-05T10:11:12Z", "2020-07-05 10:11:12"),
        (" 2020-07-05 10:11:12 ", "2020-07-05 10:11:12"),
        ("2020/07/05 10:11", "2020-07-05 10:11"),
        ("2020-07-05T10:11:12.5+02:00", "2020-07-05 08:11:12.5"),
        ("2020-07-05 10:11:12 -0400", "2020-07-05 14:11:12"),
        ("2020-07-05 10:11:12,250", "2020-07-05 10:11:12.25"),
        ("2020-07-05 10:11:12 UTC", "2020-07-05 10:11:12"),
        ("2020-07", "2020-07-01"),
        ("Sat Aug 19 09:00:00 -0700 2017", "2017-08-19 16:00"),
        ("Sat, 19 Aug 2017 09:00:00 GMT", "2017-08-19 09:00"),
        ("01-Jan-1995", "1995-01-01"),
        ("January 5, 2016", "2016-01-05"),
        ("09 13, 2009", "2009-09-13"),
        ("1700000000", "2023-11-14 22:13:20"),
        ("1700000000000", "2023-11-14 22:13:20"),
    ],
)
def test_times_are_read_without_a_format(value: str, expected: str) -> None:
    assert read([value]) == [seconds(expected)]


@pytest.mark.parametrize(
    "value", ["yesterday", "5", "2020-13-45", "12/1/2010", "", None, "NaT", "inf", "1_700_000_000"]
)
def test_what_is_no_time_is_null(value: str | None) -> None:
    assert read([value]) == [None]


@pytest.mark.parametrize(
    ("value", "style", "expected"),
    [
        ("20200705", "yyyymmdd", "2020-07-05"),
        ("20200705.0", "yyyymmdd", "2020-07-05"),
        ("20200705101112", "yyyymmddhhmmss", "2020-07-05 10:11:12"),
        ("44225.2923", "spreadsheet", "2021-01-29 07:00:54.720"),
        ("1995", "year", "1995-01-01"),
        ("1433221332117000", "microseconds", "2015-06-02 05:02:12.117"),
        ("12/1/2010 8:26", "day-first", "2010-01-12 08:26"),
        ("12/1/2010 8:26", "month-first", "2010-12-01 08:26"),
        ("11/11/2019 9:05:58 AM", "month-first", "2019-11-11 09:05:58"),
        ("1/2/2019, 9:05 PM", "month-first", "2019-01-02 21:05"),
        ("31.12.19", "day-first", "2019-12-31"),
        ("2019-12-31", "milliseconds", "2019-12-31"),
    ],
)
def test_the_format_says_how_numbers_and_dates_read(value: str, style: str, expected: str) -> None:
    assert read([value], format=style) == [pytest.approx(seconds(expected), abs=1e-3)]


def test_a_timezone_applies_to_times_without_one() -> None:
    values = ["2020-07-05 10:00", "2020-07-05T10:00Z", "2020-01-05 10:00"]
    expected = ["2020-07-05 08:00", "2020-07-05 10:00", "2020-01-05 09:00"]
    assert read(values, timezone="Europe/Berlin") == [seconds(time) for time in expected]


def test_time_types_of_parquet_are_read() -> None:
    connection = connect()
    table = query(
        connection,
        "SELECT TIMESTAMP '2020-07-05 10:00' a, DATE '2020-07-05' b, "
        "TIMESTAMPTZ '2020-07-05 10:00+02' c, CAST('2020-07-05' AS TIMESTAMP_NS) d, 1700000000000 e, 2e9 f",
    )
    found = [mapped(connection, table, events(timestamp=name))[0]["timestamp"] for name in "abcdef"]
    expected = ["2020-07-05 10:00", "2020-07-05", "2020-07-05 08:00", "2020-07-05", "2023-11-14 22:13:20"]
    assert found == [*map(seconds, expected), 2e9]


def test_the_raw_text_of_a_time_is_kept() -> None:
    connection = connect()
    table = texts(connection, {"t": ["soon "]})
    (row,) = mapped(connection, table, events(timestamp="t"))
    assert (row["timestamp"], row["raw_timestamp"]) == (None, "soon")


@pytest.mark.parametrize(
    ("values", "style"),
    [
        (["1700000000", "1700000100"], "seconds"),
        (["1433221332117", "1433224214164"], "milliseconds"),
        (["1433221332117000"], "microseconds"),
        (["1433221332117000000"], "nanoseconds"),
        (["20200705", "20191231"], "yyyymmdd"),
        (["20200705101112"], "yyyymmddhhmmss"),
        (["2022-06-24 21:20:11 ", " 1700000100 "], "seconds"),
        (["2022-06-24 21:20:11", None], "iso"),
        (["12/1/2010 8:26", "13/1/2010 8:28"], "day-first"),
        (["12/1/2010 8:26", "12/13/2010 8:28"], "month-first"),
    ],
)
def test_the_format_is_told_by_the_whole_column(values: list[str | None], style: str) -> None:
    assert proposed(values) == (style, "sure", ())


def test_a_spreadsheet_serial_is_proposed_and_asked_for() -> None:
    style, confidence, questions = proposed(["44225.2923", "44226"])
    assert (style, confidence) == ("spreadsheet", "unsure")
    assert "spreadsheet" in questions[0]


@pytest.mark.parametrize("values", [["12/1/2010 8:26"], ["13/1/2010", "1/13/2010"], ["5", "6"]])
def test_ambiguous_times_are_asked_for(values: list[str | None]) -> None:
    style, confidence, questions = proposed(values)
    assert (style, confidence) == (None, "unsure")
    assert "timestamp = {" in questions[0]
