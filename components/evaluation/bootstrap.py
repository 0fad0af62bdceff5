"""Confidence intervals by percentile bootstrap (Efron, Tibshirani 1993), resampling users with all their targets."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from components.evaluation.splits import EvaluationError

_MAX_WEIGHTS = 4_000_000  # resampling weights held in memory


class Interval(NamedTuple):
    """A mean over targets and its confidence bounds."""

    mean: float
    low: float
    high: float


def interval(
    values: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """Mean over the targets with confidence bounds.

    Args:
        values: One value per target (targets,); NaN is ignored.
        users: User of each target (targets,).
        resamples: Number of bootstrap samples.
        level: Confidence level.
    """
    return intervals(values[:, None], users, resamples, seed, level)[0]


def difference_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """Paired comparison: mean of a - b (targets,), on the same targets, with confidence bounds."""
    return interval(a - b, users, resamples, seed, level)


def intervals(
    values: NDArray[np.float64], users: NDArray[Any], resamples: int, seed: int, level: float = 0.95
) -> list[Interval]:
    """`interval` of each column of `values` (targets, columns), from the same resamples of users.

    A column of NaN gives NaN. The bounds always contain the mean, even where rounding would put it outside.

    Raises:
        EvaluationError: There are no targets.
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
    """Number of distinct items in all lists, with confidence bounds.

    A resample repeats users and so covers fewer items than all users do. Its distribution is shifted to the observed
    count, so that the bounds show the spread without this bias.

    Args:
        lists: Item rows (targets, k), padded with -1.
        users: User of each target (targets,).
        items: Size of the catalogue.
    """
    codes, count = _user_codes(users)
    target, position = np.nonzero(lists >= 0)
    shape = (count, items)
    shown = sparse.csr_matrix((np.ones(len(target)), (codes[target], lists[target, position])), shape=shape)
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
    """Multinomial counts of how often each user is drawn, in chunks of (resamples, users)."""
    random = np.random.default_rng(seed)
    step = max(1, _MAX_WEIGHTS // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = random.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        yield np.bincount(draws.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)


def bounds(mean: float, resampled: NDArray[np.float64], level: float) -> Interval:
    """Central quantiles of the resampled means (resamples,), ignoring NaN, widened to contain the mean."""
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Interval(float(mean), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(min(low, mean)), float(max(high, mean)))
