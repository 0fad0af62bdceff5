"""The gate: whether a challenger may become champion, and why, with figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.bootstrap import Interval, difference_interval

WORST_LOSS = 0.05
"""Share of the champion's NDCG that a challenger may lose on average."""
MIN_COVERAGE_SHARE = 0.5
"""Share of the champion's coverage that a challenger must reach."""


@dataclass(frozen=True)
class Clause:
    """One condition and its figures."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """passed: every clause did. reasons: the details of the clauses that failed, or else of all."""

    passed: bool
    reasons: list[str]
    clauses: list[Clause]


@dataclass(frozen=True)
class Champion:
    """What the champion's twin reached on the same targets: NDCG (T,) and coverage."""

    ndcg: NDArray[np.float64]
    coverage: int


def judge(
    *,
    ndcg: NDArray[np.float64],
    coverage: int,
    users: NDArray[Any],
    popularity: NDArray[np.float64],
    recent_popularity: NDArray[np.float64],
    champion: Champion | None,
    critical_failures: Sequence[str],
    resamples: int,
    seed: int,
) -> Verdict:
    """The verdict on a challenger with `ndcg` (T,) and `coverage`.

    popularity, recent_popularity: NDCG (T,) of the baselines; users: (T,). All arrays are on the same targets, those
    behind the later cut of challenger and champion. critical_failures: one line an expectation that failed.
    """

    def difference(other: NDArray[np.float64]) -> Interval:
        return difference_interval(ndcg, other, users, resamples, seed)

    clauses = [
        _beats("popularity", ndcg, popularity, difference(popularity)),
        _beats("recent popularity", ndcg, recent_popularity, difference(recent_popularity)),
        _not_worse_than(champion, ndcg, difference(champion.ndcg)) if champion else _skipped("champion"),
        _covers_enough(champion, coverage) if champion else _skipped("coverage"),
        _validated(critical_failures),
    ]
    failed = [clause for clause in clauses if not clause.passed]
    return Verdict(not failed, [f"{clause.name}: {clause.detail}" for clause in failed or clauses], clauses)


def _beats(name: str, ndcg: NDArray[np.float64], other: NDArray[np.float64], difference: Interval) -> Clause:
    passed = difference.low > 0
    return Clause(name, passed, f"{_figures(ndcg, other, difference)}; the lower bound must be above zero")


def _not_worse_than(champion: Champion, ndcg: NDArray[np.float64], difference: Interval) -> Clause:
    before = float(champion.ndcg.mean())
    passed = difference.high >= 0 and difference.mean >= -WORST_LOSS * before
    rule = f"the upper bound must reach zero and the mean lose at most {WORST_LOSS:.0%} ({WORST_LOSS * before:.4f})"
    return Clause("champion", passed, f"{_figures(ndcg, champion.ndcg, difference)}; {rule}")


def _covers_enough(champion: Champion, coverage: int) -> Clause:
    required = MIN_COVERAGE_SHARE * champion.coverage
    detail = f"{coverage} items, the champion {champion.coverage}; at least {required:g} needed"
    return Clause("coverage", coverage >= required, detail)


def _validated(critical_failures: Sequence[str]) -> Clause:
    detail = "every critical expectation passed"
    if critical_failures:
        detail = f"critical expectations failed, {len(critical_failures)} in all: {'; '.join(critical_failures)}"
    return Clause("validation", not critical_failures, detail)


def _skipped(name: str) -> Clause:
    return Clause(name, True, "skipped, there is no champion to compare with")


def _figures(ndcg: NDArray[np.float64], other: NDArray[np.float64], difference: Interval) -> str:
    return (
        f"NDCG {ndcg.mean():.4f} against {other.mean():.4f}, "
        f"difference {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    )
