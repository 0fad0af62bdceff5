import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from components.evaluation.bootstrap import coverage_interval, difference_interval, interval, intervals
from components.evaluation.splits import EvaluationError

VALUES = arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@settings(deadline=None)
@given(VALUES, st.integers(1, 8))
def test_the_interval_holds_the_mean_within_the_range(values: NDArray[np.float64], users: int) -> None:
    result = interval(values, np.arange(len(values)) % users, 200, 0)
    assert result.mean == pytest.approx(values.mean())
    assert result.low <= result.mean <= result.high
    assert values.min() - 1e-12 <= result.low and result.high <= values.max() + 1e-12


@settings(deadline=None)
@given(VALUES, st.integers(0, 2**32 - 1))
def test_the_order_of_targets_does_not_matter(values: NDArray[np.float64], seed: int) -> None:
    users = np.arange(len(values)) % 5
    order = np.random.default_rng(seed).permutation(len(values))
    first, second = interval(values, users, 100, 3), interval(values[order], users[order], 100, 3)
    assert tuple(first) == pytest.approx(tuple(second))


def test_the_width_is_that_of_the_means_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    result = interval(values, np.arange(4000), 2000, 0)
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(4000), rel=0.08)


def test_targets_of_one_user_do_not_count_as_independent() -> None:
    by_user = np.random.default_rng(0).normal(size=100)
    repeated = interval(np.repeat(by_user, 50), np.repeat(np.arange(100), 50), 1000, 0)
    assert tuple(repeated) == pytest.approx(tuple(interval(by_user, np.arange(100), 1000, 0)))


def test_many_users_are_resampled_in_chunks() -> None:
    users = np.arange(20_000)
    result = interval((users % 2).astype(float), users, 500, 0)
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(20_000), rel=0.2)


def test_the_difference_is_paired() -> None:
    noise = np.random.default_rng(0).normal(size=500)
    result = difference_interval(noise + 0.01, noise, np.arange(500), 300, 0)
    assert tuple(result) == pytest.approx((0.01, 0.01, 0.01))


def test_nan_is_ignored_and_a_column_of_nan_gives_nan() -> None:
    users = np.array(["u", "v", "w"])
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, np.nan]])
    ones, none = intervals(values, users, 50, 0)
    assert tuple(ones) == (1, 1, 1)
    assert np.isnan(none).all()


def test_coverage_lies_within_its_interval_and_identical_lists_have_no_spread() -> None:
    lists = np.random.default_rng(0).integers(0, 50, (200, 3))
    covered = len(np.unique(lists))
    result = coverage_interval(lists, np.arange(200) // 2, 50, 300, 0)
    assert result.mean == covered
    assert result.low <= covered <= result.high
    assert tuple(coverage_interval(np.tile([1, 2, -1], (30, 1)), np.arange(30), 5, 100, 0)) == (2, 2, 2)


def test_no_target_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no target"):
        interval(np.empty(0), np.empty(0), 10, 0)
