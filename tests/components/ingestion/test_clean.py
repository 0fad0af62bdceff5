"""Cleaning of events and items: examples and property tests."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.columns import EVENTS
from components.ingestion.admission import Admission
from components.ingestion.clean import Cleaned, clean_events, clean_items
from components.ingestion.frames import as_frame, records
from components.settings import EventSettings
from components.store.bulk import EVENT_COLUMNS, ITEM_COLUMNS
from components.store.rows import EventRow, ItemRow, Rejected
from tests.support.raw_events import NOW, raw_events

KNOWN = {"a", "b", "1"}
EARLY = EventSettings(earliest=date(1970, 1, 1))


def clean(raw: pd.DataFrame, source: str = "test") -> Cleaned[EventRow]:
    return clean_events(records(raw), source=source, settings=EARLY, known_items=KNOWN, now=NOW)


def frame(cleaned: Cleaned[EventRow]) -> pd.DataFrame:
    return as_frame(cleaned.rows, EventRow)


def rejection_code(raw: pd.DataFrame) -> str:
    """The error code with which the only row is rejected."""
    cleaned = clean(raw)
    assert not cleaned.rows
    (rejected,) = cleaned.rejected
    reason = rejected.reason
    assert ": " in reason
    return reason.split(":")[0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "a", 1, "view"), "missing_user_id"),
        (("  ", "a", 1, "view"), "missing_user_id"),
        (("u", float("nan"), 1, "view"), "missing_item_id"),
        (("u" * 201, "a", 1, "view"), "bad_user_id"),
        (("u\x00v", "a", 1, "view"), "bad_user_id"),
        (("u\ud800", "a", 1, "view"), "bad_user_id"),
        (("u", "a", 1, "gaze"), "unknown_event"),
        (("u", "a", 1, None), "unknown_event"),
        (("u", "a", None, "view"), "bad_timestamp"),
        (("u", "a", "yesterday", "view"), "bad_timestamp"),
        (("u", "a", float("inf"), "view"), "bad_timestamp"),
        (("u", "a", True, "view"), "bad_timestamp"),
        (("u", "a", 10**400, "view"), "bad_timestamp"),
        (("u", "a", 1_700_000_000_000, "view"), "timestamp_in_milliseconds"),
        (("u", "a", "1700000000000", "view"), "timestamp_in_milliseconds"),
        (("u", "a", 1_700_000_000_000_000, "view"), "timestamp_in_microseconds"),
        (("u", "a", 1_700_000_000_000_000_000, "view"), "timestamp_in_nanoseconds"),
        (("u", "a", NOW.timestamp() + 301, "view"), "future_timestamp"),
        (("u", "a", "2031-01-01", "view"), "future_timestamp"),
        (("u", "a", -5, "view"), "timestamp_before_1970-01-01"),
        (("u", "elsewhere", 1, "view"), "unknown_item"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(row: tuple[object, object, object, object], reason: str) -> None:
    assert rejection_code(raw_events([row])) == reason


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("value", "many", "bad_value"),
        ("value", float("inf"), "non_finite_value"),
        ("value", "-inf", "non_finite_value"),
        ("event_id", "x" * 201, "bad_event_id"),
    ],
)
def test_a_bad_optional_column_is_rejected_with_its_reason(column: str, value: object, reason: str) -> None:
    assert rejection_code(raw_events([("u", "a", 1, "rating")], **{column: value})) == reason


def test_reasons_name_the_value_and_how_to_fix_it() -> None:
    rejected = clean(raw_events([("u", "a", 1, "gaze"), ("u", "a", 1_700_000_000_000, "view")])).rejected
    assert "'gaze' is none of view, click" in rejected[0].reason
    assert "1700000000000 looks like milliseconds; divide by 1,000" in rejected[1].reason


@pytest.mark.parametrize(
    "raw_time",
    [
        1_700_000_000,
        1_700_000_000.0,
        "1700000000",
        Decimal(1_700_000_000),
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20Z",
        "2023-11-15T06:13:20+08:00",
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        datetime(2023, 11, 14, 22, 13, 20),
        pd.Timestamp("2023-11-14T22:13:20"),
    ],
)
def test_times_in_all_formats_are_read_as_utc(raw_time: object) -> None:
    rows = frame(clean(raw_events([("u", "a", raw_time, "view")])))
    assert rows["occurred_at"].tolist() == [pd.Timestamp("2023-11-14T22:13:20", tz="UTC")]
    assert rows["occurred_at"].dtype == "datetime64[us, UTC]"


def test_a_column_of_dates_or_timestamps_is_read() -> None:
    dates = raw_events([("u", "a", date(2024, 1, 2), "view")])
    stamps = dates.assign(timestamp=pd.to_datetime(["2024-01-02"]))
    for raw in (dates, stamps):
        assert frame(clean(raw))["occurred_at"].tolist() == [pd.Timestamp("2024-01-02", tz="UTC")]


def test_ids_and_texts_are_normalised() -> None:
    raw = raw_events([(" Cafe\u0301 ", 1.0, 0, "VIEW ")], text=" so &amp; so\t\x00 good ", value="4.5")
    (row,) = clean(raw).rows
    assert (row.user_id, row.item_id, row.event) == ("Café", "1", "view")
    assert (row.text, row.value) == ("so & so good", 4.5)


def test_rows_form_an_events_frame_sorted_by_time_and_arrival() -> None:
    raw = raw_events([("u", "b", 5, "view"), ("u", "a", 3, "view"), ("v", "b", 3, "view"), ("u", "b", 3, "view")])
    rows = frame(clean(raw))
    assert list(rows.columns) == EVENT_COLUMNS
    assert list(zip(rows.user_id, rows.item_id, strict=True)) == [("u", "a"), ("v", "b"), ("u", "b"), ("u", "b")]
    assert rows["value"].isna().all()
    assert rows["text"].isna().all()


def test_equal_rows_are_one_event_and_any_difference_makes_another() -> None:
    same = raw_events([("u", "a", 9, "rating")] * 2, value=[4, 4.0], text="fine")
    assert clean(same).duplicates == 1
    different = [
        ("u", "a", 9, "rating", 4, "fine"), ("v", "a", 9, "rating", 4, "fine"), ("u", "b", 9, "rating", 4, "fine"),
        ("u", "a", 8, "rating", 4, "fine"), ("u", "a", 9, "review", 4, "fine"), ("u", "a", 9, "rating", 5, "fine"),
        ("u", "a", 9, "review", None, "fine"), ("u", "a", 9, "rating", 4, None),
    ]  # fmt: skip
    raw = pd.DataFrame(different, columns=["user_id", "item_id", "timestamp", "event", "value", "text"], dtype=object)
    ids = {row.event_id for source in ("test", "another source") for row in clean(raw, source).rows}
    assert len(ids) == 2 * len(different)


def test_the_first_row_of_a_repeated_event_id_is_kept() -> None:
    cleaned = clean(raw_events([("u", "a", 9, "view"), ("v", "b", 3, "like")], event_id="e1"))
    assert [(row.event_id, row.user_id) for row in cleaned.rows] == [("e1", "u")]
    assert cleaned.duplicates == 1


def test_rejected_rows_keep_their_index_and_all_columns() -> None:
    raw = raw_events([("u", "a", 1, "view"), ("u\x00", "a", 1, "view")], extra=[np.int64(1), np.float32(2)])
    (rejected,) = clean(raw).rejected
    assert rejected.index == 1
    assert rejected.row == {
        "user_id": "u\\u0000",
        "item_id": "a",
        "timestamp": 1,
        "event": "view",
        "extra": 2.0,
    }


def test_a_missing_column_rejects_its_rows() -> None:
    assert rejection_code(pd.DataFrame({"item_id": ["a"], "timestamp": [1], "event": ["view"]})) == "missing_user_id"


def test_no_rows_give_an_empty_result() -> None:
    assert clean(raw_events([])) == Cleaned([], [], 0)


def test_rows_of_refused_users_are_rejected_without_their_content() -> None:
    admission = Admission({"v": "u_1", "u": "u_2"}, {"u_1": "no_consent: told"})
    rows = [
        {"user_id": user, "item_id": item, "event": "view", "timestamp": 1}
        for user, item in [("v", "a"), ("u", "a"), ("u", "z")]
    ]
    cleaned = clean_events(rows, source="test", settings=EARLY, known_items=KNOWN, now=NOW, admission=admission)
    assert cleaned.rejected[0] == Rejected(0, {}, "no_consent: told")
    assert [row.user_id for row in cleaned.rows] == ["u_2"]
    assert cleaned.rejected[1].row == rows[2] | {"user_id": "u_2"}


IDS = st.one_of(st.sampled_from(["a", "b", " a", "1", 1, 1.0, None, "", "no\x00"]), st.text(max_size=4), st.floats())
TIMES = st.one_of(
    st.integers(),
    st.floats(),
    st.none(),
    st.text(max_size=6),
    st.datetimes(),
    st.sampled_from(["2024-01-01", "1700000000", 1_700_000_000_000]),
    st.integers(0, 1_700_000_000),
)
ROWS = st.lists(
    st.tuples(
        IDS,
        st.one_of(st.sampled_from(["a", "b"]), IDS),
        TIMES,
        st.one_of(st.sampled_from(EVENTS), st.text(max_size=4), st.none()),
        st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=3), st.booleans()),
        st.one_of(st.none(), st.text(max_size=8)),
        st.one_of(st.none(), st.sampled_from(["e1", "e2"]), st.text(max_size=3)),
    ),
    max_size=8,
)
COLUMNS = ["user_id", "item_id", "timestamp", "event", "value", "text", "event_id"]


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_every_row_is_accounted_for(rows: list[tuple[object, ...]]) -> None:
    cleaned = clean(pd.DataFrame(rows, columns=COLUMNS, dtype=object))
    assert len(cleaned.rows) + cleaned.duplicates + len(cleaned.rejected) == len(rows)
    assert all(rejected.reason.strip() for rejected in cleaned.rejected)
    assert frame(cleaned)["event_id"].is_unique
    assert frame(cleaned)["occurred_at"].is_monotonic_increasing


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_cleaning_is_idempotent(rows: list[tuple[object, ...]]) -> None:
    raw = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    once = clean(raw)
    again = clean(raw)
    assert once == again
    twice = clean(frame(once).rename(columns={"occurred_at": "timestamp"}))
    assert not twice.rejected
    assert twice.rows == once.rows


def test_items_are_normalised() -> None:
    raw = pd.DataFrame(
        {
            "item_id": [7, 8.0],
            "title": ["  Wallace &amp;\n Gromit ", None],
            "category": ["Comedy| |Animation|Comedy", ["x|y", "x", None]],
            "available": ["False", None],
            "published_at": ["1995-02-03", float("nan")],
        }
    )
    rows = as_frame(clean_items(records(raw), source="test").rows, ItemRow)
    assert list(rows.columns) == ITEM_COLUMNS
    assert rows["item_id"].tolist() == ["7", "8"]
    assert rows["title"].tolist() == ["Wallace & Gromit", ""]
    assert rows["category"].tolist() == [["Comedy", "Animation"], ["x", "y"]]
    assert rows["available"].tolist() == [False, True]
    assert rows["published_at"][0] == pd.Timestamp("1995-02-03", tz="UTC")
    assert pd.isna(rows["published_at"][1])


def test_the_first_of_two_items_with_the_same_id_is_kept() -> None:
    cleaned = clean_items([{"item_id": "x", "title": "first"}, {"item_id": " x", "title": "second"}], source="test")
    assert [item.title for item in cleaned.rows] == ["first"]
    assert cleaned.rejected[0].reason.startswith("duplicate_item: ")
    assert cleaned.rejected[0].row["title"] == "second"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("item_id", "", "missing_item_id"),
        ("item_id", "x\x07y", "bad_item_id"),
        ("available", "perhaps", "bad_available"),
        ("published_at", "last spring", "bad_published_at"),
    ],
)
def test_a_bad_item_is_rejected_with_its_reason(column: str, value: object, reason: str) -> None:
    (rejected,) = clean_items([{"item_id": "x", column: value}], source="test").rejected
    assert rejected.reason.startswith(f"{reason}: ")


def test_the_content_hash_depends_on_the_content_only() -> None:
    raw = [{"item_id": item, "title": title} for item, title in [("x", "same"), ("y", " same "), ("z", "other")]]
    first, second, third = (item.content_hash for item in clean_items(raw, source="test").rows)
    assert first == second != third
