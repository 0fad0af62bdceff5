"""Token buckets: bursts, rates and bounded memory."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.rate_limit import TokenBuckets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(steps=st.lists(st.floats(0, 3), min_size=1, max_size=60), rate=st.floats(0.1, 10), burst=st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate_allow(steps: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, burst, clock=clock)
    passed = 0
    for step in steps:
        clock.now += step
        passed += buckets.wait("caller") == 0
    assert passed <= burst + clock.now * rate + 1e-6
    assert passed >= 1


def test_waiting_the_returned_seconds_suffices() -> None:
    clock = Clock()
    buckets = TokenBuckets(0.25, 1, clock=clock)
    assert buckets.wait("caller") == 0
    seconds = buckets.wait("caller")
    assert seconds == pytest.approx(4)
    assert buckets.wait("another") == 0
    clock.now += seconds
    assert buckets.wait("caller") == 0


def test_a_flood_of_names_does_not_grow_memory() -> None:
    buckets = TokenBuckets(1, 1, max_buckets=100, clock=Clock())
    for number in range(10_000):
        buckets.wait(f"user {number}")
    assert len(buckets) == 100


def test_long_names_take_no_memory() -> None:
    buckets = TokenBuckets(1, 1, clock=Clock())
    tracemalloc.start()
    for number in range(100):
        buckets.wait(f"user {number} " + "x" * 100_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
    assert buckets.wait("user 0 " + "x" * 100_000) > 0


def test_a_rate_of_zero_is_no_limit() -> None:
    buckets = TokenBuckets(0, 1)
    assert not any(buckets.wait("caller") for _ in range(1000))
    assert len(buckets) == 0
