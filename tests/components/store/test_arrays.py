"""Array literals, round-tripped through Postgres."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from components.store.bulk import number_array, text_array, time_array

REUSED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
NASTY = st.sampled_from(["", "NULL", 'a"b', "a\\b", "\\", "{a,b}", ",", " a ", "\n"])
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2106, 1, 1), timezones=st.just(UTC))


def read(store: Engine, kind: str, literal: str | None) -> object:
    with store.connect() as connection:
        return connection.scalar(text(f"SELECT CAST(:literal AS {kind}[])"), {"literal": literal})


@REUSED
@given(values=st.lists(st.none() | NASTY | TEXTS, min_size=1))
def test_texts_round_trip(store: Engine, values: list[str | None]) -> None:
    all_none = all(value is None for value in values)
    assert read(store, "text", text_array(values)) == (None if all_none else values)


@REUSED
@given(values=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_round_trip(store: Engine, values: list[float | None]) -> None:
    all_none = all(value is None for value in values)
    assert read(store, "float8", number_array(values)) == (None if all_none else values)


def read_times(store: Engine, literal: str) -> object:
    with store.connect() as connection:
        query = text("SELECT array_agg(to_timestamp(seconds)) FROM unnest(CAST(:literal AS float8[])) AS seconds")
        return connection.scalar(query, {"literal": literal})


@REUSED
@given(values=st.lists(TIMES, min_size=1))
def test_times_round_trip(store: Engine, values: list[datetime]) -> None:
    assert read_times(store, time_array(values)) == values


def test_time_zones_are_converted(store: Engine) -> None:
    moment = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert read_times(store, time_array([moment])) == [moment]


def test_a_text_that_postgres_cannot_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="character 0"):
        text_array(["a\x00b", "c"])
