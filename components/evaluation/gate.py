"""The gate: decides from metrics whether a challenger may become champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.bootstrap import Interval, difference_interval

MAX_NDCG_LOSS = 0.05
"""Maximum mean loss of NDCG against the champion, as a share of the champion's NDCG."""
MIN_COVERAGE_SHARE = 0.5
"""Minimum coverage, as a share of the champion's."""


@dataclass(frozen=True)
class Clause:
    """One condition of the gate, with its figures."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The result of the gate.

    Attributes:
        passed: Whether every clause passed.
        reasons: Details of the failed clauses, or of all clauses if none failed.
    """

    passed: bool
    reasons: list[str]
    clauses: list[Clause]


@dataclass(frozen=True)
class Champion:
    """Metrics of the champion's twin on the same targets: NDCG (targets,) and coverage (distinct items)."""

    ndcg: NDArray[np.float64]
    coverage: int


def apply_gate(
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
    """Applies the gate to a challenger.

    All arrays refer to the same targets, those after the later cut of challenger and champion.

    Args:
        ndcg: NDCG of the challenger (targets,).
        coverage: Distinct items that the challenger recommends.
        users: User of each target (targets,).
        popularity: NDCG of the popularity baseline (targets,).
        recent_popularity: NDCG of the baseline of the last seven days (targets,).
        champion: None skips the comparison.
        critical_failures: One line per failed critical expectation.
        resamples: Bootstrap samples of the intervals.
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
    passed = difference.high >= 0 and difference.mean >= -MAX_NDCG_LOSS * before
    rule = (
        f"the upper bound must reach zero and the mean lose at most {MAX_NDCG_LOSS:.0%} ({MAX_NDCG_LOSS * before:.4f})"
    )
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
