"""Array literals as Postgres reads them."""

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


def read(store: Engine, kind: str, written: str | None) -> object:
    with store.connect() as connection:
        return connection.scalar(text(f"SELECT CAST(:written AS {kind}[])"), {"written": written})


@REUSED
@given(values=st.lists(st.none() | NASTY | TEXTS, min_size=1))
def test_texts_come_back(store: Engine, values: list[str | None]) -> None:
    nothing = all(value is None for value in values)
    assert read(store, "text", text_array(values)) == (None if nothing else values)


@REUSED
@given(values=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_come_back(store: Engine, values: list[float | None]) -> None:
    nothing = all(value is None for value in values)
    assert read(store, "float8", number_array(values)) == (None if nothing else values)


def read_times(store: Engine, written: str) -> object:
    with store.connect() as connection:
        query = text("SELECT array_agg(to_timestamp(one)) FROM unnest(CAST(:written AS float8[])) AS one")
        return connection.scalar(query, {"written": written})


@REUSED
@given(values=st.lists(TIMES, min_size=1))
def test_times_come_back(store: Engine, values: list[datetime]) -> None:
    assert read_times(store, time_array(values)) == values


def test_a_time_of_another_zone_is_the_same_moment(store: Engine) -> None:
    moment = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert read_times(store, time_array([moment])) == [moment]


def test_what_postgres_cannot_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="character 0"):
        text_array(["a\x00b", "c"])
