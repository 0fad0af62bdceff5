"""Judging in columns gives the verdicts, reasons and rows of `clean_events`."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.columns import EVENTS
from components.ingestion.admission import ADMIT_ALL, Admission
from components.ingestion.clean import Cleaned, clean_events
from components.ingestion.judge_events import Admit, Verdicts, judge_events
from components.settings import EventSettings
from components.store.rows import EventRow
from tests.support.raw_events import NOW

EARLY = EventSettings(earliest=date(1970, 1, 1))
TEXT_COLUMNS = (
    "user_id", "item_id", "event", "value", "text", "event_id", "session_id", "request_id", "model_version", "variant",
)  # fmt: skip
ITEMS = ("a", "b", "1", "Café")
Row = dict[str, Any]


def admit_all(_: Collection[object]) -> Admission:
    return ADMIT_ALL


def row(user: object = "u", item: object = "a", time: object = 1.0, event: object = "view", **others: object) -> Row:
    return {"user_id": user, "item_id": item, "timestamp": time, "event": event, **others}


def database(rows: Sequence[Row], rejects: Sequence[str | None] = ()) -> duckdb.DuckDBPyConnection:
    """A database with the views that mapped files have."""
    connection = duckdb.connect(config={"threads": 1})
    columns: dict[str, pa.Array] = {
        name: pa.array([each.get(name) for each in rows], pa.string()) for name in TEXT_COLUMNS
    }
    times = [each["timestamp"] for each in rows]
    columns["timestamp"] = pa.array([time if isinstance(time, float) else None for time in times], pa.float64())
    columns["raw_timestamp"] = pa.array([None if time is None else str(time) for time in times], pa.string())
    columns["row"] = pa.array(range(len(rows)), pa.int64())
    columns["raw"] = pa.array([{"line": n} for n in range(len(rows))], pa.struct([("line", pa.int64())]))
    columns["reject"] = pa.array(list(rejects) or [None] * len(rows), pa.string())
    connection.register("events_in", pa.table(columns))
    connection.register("known_items", pa.table({"item_id": pa.array(ITEMS)}))
    return connection


def judge(connection: duckdb.DuckDBPyConnection, admit: Admit = admit_all, keep_raw: bool = False) -> Verdicts:
    return judge_events(connection, source="test", settings=EARLY, now=NOW, admit=admit, keep_raw=keep_raw)


def good(connection: duckdb.DuckDBPyConnection) -> list[EventRow]:
    """The accepted events, in the order of the table."""
    names = [name for name in EventRow._fields if name not in ("occurred_at", "source")]
    found = connection.execute(f"SELECT micros, {', '.join(names)} FROM good_events").fetchall()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        EventRow(
            **dict(zip(names, values, strict=True)), occurred_at=epoch + timedelta(microseconds=micros), source="test"
        )
        for micros, *values in found
    ]


def rejected(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, Row, str]]:
    found = connection.execute("SELECT arrival, raw, reason FROM rejected_events ORDER BY arrival").fetchall()
    return [(arrival, json.loads(raw), reason) for arrival, raw, reason in found]


def same_as_clean_events(rows: Sequence[Row], admission: Admission = ADMIT_ALL) -> None:
    given = [{name: each.get(name) for name in (*TEXT_COLUMNS, "timestamp")} for each in rows]
    expected: Cleaned[EventRow] = clean_events(
        given, source="test", settings=EARLY, known_items=ITEMS, now=NOW, admission=admission
    )
    with database(rows) as connection:
        verdicts = judge(connection, lambda _: admission)
        assert verdicts.duplicates == expected.duplicates
        assert good(connection) == expected.rows
        assert rejected(connection) == [(each.index, each.row, each.reason) for each in expected.rejected]


# what Postgres' and DuckDB's text can hold
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
IDS = st.one_of(
    st.sampled_from(["u", "v", " u", "a\\b", "a b", "x" * 200, "x" * 201, "", "Cafe\u0301"]), st.none(), TEXT
)
NUMBERS = st.one_of(
    st.none(),
    st.sampled_from(["0", "-0", "4", "4.0", "04.50", "1e3", ".5", "5.", "+1", "1_0", "nan", "inf", "-3", "1e400"]),
    st.floats().map(repr),
    st.floats(-1e9, 1e9).map(repr),
    st.floats(width=32, allow_nan=False).map(lambda number: format(number, "f")),
    st.decimals(-9999, 9999, places=17).map(str),
    TEXT,
)
TIMES = st.one_of(
    st.floats(allow_nan=False),
    st.floats(0, 1.7e9),
    st.integers(0, 1_700_000_000).map(float),
    st.integers(0, 2 * 10**9).map(lambda halves: halves / 2e6),
    st.sampled_from([NOW.timestamp() + 300, NOW.timestamp() + 300.001, 1.7e12, 1e11]),
    st.none(),
    st.sampled_from(["soon", "05/07/2020 8"]),
)
WORDS = st.one_of(
    st.sampled_from(["fine", "so so", " so  so ", "R&amp;D", "R&D", "<b>", "tab\there", "é"]), st.none(), TEXT
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": IDS,
            "item_id": st.one_of(st.sampled_from([*ITEMS, "Cafe\u0301", " a", "c"]), IDS),
            "timestamp": TIMES,
            "event": st.one_of(st.sampled_from(EVENTS), st.sampled_from(["VIEW", " view", "gaze"]), st.none()),
        },
        optional={
            "value": NUMBERS,
            "text": WORDS,
            "event_id": st.one_of(st.sampled_from(["e1", "e2", " e1"]), IDS),
            "session_id": IDS,
            "request_id": IDS,
            "model_version": WORDS,
            "variant": WORDS,
        },
    ),
    max_size=12,
)


@settings(max_examples=80)
@given(ROWS)
def test_columns_are_judged_as_rows_are(rows: list[Row]) -> None:
    same_as_clean_events(rows)


@settings(max_examples=50)
@given(st.lists(st.fixed_dictionaries({"value": NUMBERS, "timestamp": st.floats(0, 1.7e9)}), min_size=1, max_size=20))
def test_ids_of_events_agree_for_all_numbers_and_times(parts: list[Row]) -> None:
    same_as_clean_events([row("u", "a", event="rating") | part for part in parts])


def test_refused_users_and_pseudonyms_are_respected() -> None:
    admission = Admission({"u": "u_1", "v": "u_2"}, {"u_2": "no_consent: said so"})
    same_as_clean_events([row("u"), row("v"), row(" v"), row("v", "zzz"), row("u", "zzz")], admission)


def test_the_first_arrival_of_an_event_is_kept() -> None:
    same_as_clean_events([row(" u", time=9.0, event_id="e"), row("v", time=3.0, event_id="e"), row("w", event_id="e ")])


def test_a_row_rejected_by_the_mapping_keeps_its_reason_and_the_columns_of_the_file() -> None:
    with database([row("u"), row("u")], ["bad_item_id: 1.5 is no whole number", None]) as connection:
        verdicts = judge(connection, keep_raw=True)
        [(arrival, raw, reason)] = rejected(connection)
    assert verdicts == Verdicts(1, 0, {"bad_item_id": 1})
    assert (arrival, reason) == (0, "bad_item_id: 1.5 is no whole number")
    assert raw["line"] == 0 and raw["user_id"] == "u"


def test_rows_that_the_mapping_leaves_out_are_counted_and_not_rejected() -> None:
    with database([row("u"), row("u"), row("u")], ["return: -1 is a return", "ignored: show", None]) as connection:
        assert judge(connection) == Verdicts(1, 0, {}, {"return": 1, "ignored": 1})
        assert rejected(connection) == []


def test_unknown_words_are_counted() -> None:
    with database([row(event="gaze"), row(event="stare"), row(event="gaze")]) as connection:
        assert judge(connection).unknown_words == {"gaze": 2, "stare": 1}


@pytest.mark.parametrize("raw_time", ["20200705", "5"])
def test_a_time_that_the_mapping_cannot_read_is_no_epoch(raw_time: str) -> None:
    with database([row(time=raw_time)]) as connection:
        assert judge(connection) == Verdicts(0, 0, {"bad_timestamp": 1})
