"""Hourly feedback quotas per caller: exact limits, bounded memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.http.rate_limit import HOUR, MAX_CALLERS, Distinct, Quotas


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), limit=st.integers(1, 200))
def test_no_hour_holds_more_events_than_the_limit(sizes: list[int], limit: int) -> None:
    quotas = Quotas(limit, 0, 0, Clock())
    accepted = 0
    for size in sizes:
        exceeded_quota = quotas.exceeded("key", ["u"] * size, ["i"] * size)
        assert (exceeded_quota is None) == (accepted + size <= limit)
        accepted += 0 if exceeded_quota else size
    assert accepted <= limit


@pytest.mark.parametrize("limit", [2000, 5000])
def test_distinct_ids_are_counted_within_six_percent(limit: int) -> None:
    distinct = Distinct(limit)
    ids = [str(number) for number in range(2 * limit)]
    counted = sum(distinct.add([text]) for text in ids)
    assert counted == pytest.approx(limit, rel=0.06)
    assert not distinct.add(ids)
    assert distinct.add([ids[0]] * 1000)


@settings(max_examples=30)
@given(ids=st.lists(st.text(max_size=5), max_size=50))
def test_a_counted_id_is_not_counted_again(ids: list[str]) -> None:
    distinct = Distinct(100)
    assert distinct.add(ids)
    assert distinct.add(ids)


def test_quotas_are_per_caller_and_reset_after_an_hour() -> None:
    clock = Clock()
    quotas = Quotas(5, 2, 1, clock)
    assert quotas.exceeded("key", ["u", "v"], ["i", "i"]) is None
    clock.now = 600
    assert quotas.exceeded("key", ["w"], ["i"]) == ("users", 2, HOUR - 600)
    assert quotas.exceeded("key", ["u"], ["j"]) == ("items", 1, HOUR - 600)
    assert quotas.exceeded("key", ["u"] * 4, ["i"] * 4) == ("events", 5, HOUR - 600)
    assert quotas.exceeded("other", ["w"], ["j"]) is None
    clock.now = HOUR
    assert quotas.exceeded("key", ["w"], ["j"]) is None


def test_a_flood_of_callers_does_not_grow_memory() -> None:
    quotas = Quotas(1, 1, 1, Clock())
    for number in range(2 * MAX_CALLERS):
        quotas.exceeded(str(number), ["u"], ["i"])
    assert len(quotas) == MAX_CALLERS


def test_zero_is_no_limit() -> None:
    quotas = Quotas(0, 0, 0, Clock())
    assert quotas.exceeded("key", list(map(str, range(10_000))), ["i"] * 10_000) is None
