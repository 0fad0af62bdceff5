"""Intervals by the percentile bootstrap over users (Efron, Tibshirani 1993): a user's targets stay together."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from components.evaluation.splits import EvaluationError

_MAX_WEIGHTS = 4_000_000  # resampling weights held at a time


class Interval(NamedTuple):
    """A mean over targets and its bounds."""

    mean: float
    low: float
    high: float


def interval(
    values: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """Mean of `values` (T,) over the targets, with bounds from resampled `users` (T,). NaN values do not count."""
    return intervals(values[:, None], users, resamples, seed, level)[0]


def difference_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """Mean of a - b, both (T,) on the same targets, with bounds from resampled users: the paired comparison."""
    return interval(a - b, users, resamples, seed, level)


def intervals(
    values: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> list[Interval]:
    """`interval` of each column of `values` (T, m), all from the same resamples of users.

    A column without a number gives NaN. The bounds are widened to hold the mean, should rounding put it outside.
    Raises EvaluationError when there is no target.
    """
    codes, count = _user_codes(users)
    present = ~np.isnan(values)
    by_user = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(count, len(codes)))
    totals, sizes = by_user @ np.where(present, values, 0.0), by_user @ present.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = totals.sum(axis=0) / sizes.sum(axis=0)
        resampled = np.concatenate([(w @ totals) / (w @ sizes) for w in weights(count, resamples, seed)])
    return [bounds(mean, column, level) for mean, column in zip(means, resampled.T, strict=True)]


def coverage_interval(
    lists: NDArray[np.int64], users: NDArray[Any], items: int, resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """Distinct items in `lists` (T, k; -1 empty) of a catalogue of `items`, with bounds from resampled users.

    A resample repeats some users and so shows fewer items than all of them do; its distribution is moved onto the
    count itself, so that the bounds tell the spread and not that bias.
    """
    codes, count = _user_codes(users)
    target, place = np.nonzero(lists >= 0)
    shape = (count, items)
    shown = sparse.csr_matrix((np.ones(len(target)), (codes[target], lists[target, place])), shape=shape)
    shown_items = shown[:, np.flatnonzero(shown.getnnz(axis=0))].tocsr()
    resampled = np.concatenate([((w > 0) @ shown_items > 0).sum(axis=1) for w in weights(count, resamples, seed)])
    covered = shown_items.shape[1]
    return bounds(float(covered), resampled - resampled.mean() + covered, level)


def _user_codes(users: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    if not len(users):
        raise EvaluationError("there is no target to take an interval of: the split must leave at least one")
    names, codes = np.unique(users, return_inverse=True)
    return codes, len(names)


def weights(users: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each user is drawn, (resamples, users) in parts: multinomial, as counts of uniform draws."""
    random = np.random.default_rng(seed)
    step = max(1, _MAX_WEIGHTS // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = random.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        yield np.bincount(draws.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)


def bounds(mean: float, resampled: NDArray[np.float64], level: float) -> Interval:
    """The quantiles of `drawn` (resamples,), NaN left out, that hold `level` of them; they always hold the mean."""
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Interval(float(mean), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(min(low, mean)), float(max(high, mean)))
