"""What a model reached on the targets, for each of them and in short."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from components.evaluation import metrics
from components.evaluation.bootstrap import Interval, coverage_interval, intervals
from components.settings import EvaluationSettings

Summary = dict[str, Any]
"""Figures by metric name, such as `ndcg@10`; bounds as `ndcg@10_interval`: [low, high]."""


@dataclass(frozen=True)
class ModelResult:
    """ndcg, hr, mrr: float64 (T,), one a target; lists: ranked item rows (T, k), -1 empty; seconds of fit and
    rank where they were measured."""

    name: str
    ndcg: NDArray[np.float64]
    hr: NDArray[np.float64]
    mrr: NDArray[np.float64]
    lists: NDArray[np.int64]
    fit_s: float | None = None
    rank_s: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        lists: NDArray[np.int64],
        targets: NDArray[np.integer],
        *,
        fit_s: float | None = None,
        rank_s: float | None = None,
    ) -> Self:
        """Judges `lists` (T, k) by the targets' item rows (T,)."""
        ranks = metrics.target_ranks(lists, targets, lists.shape[1])
        return cls(
            name,
            ndcg=metrics.ndcg(ranks),
            hr=metrics.hit_rate(ranks),
            mrr=metrics.reciprocal_rank(ranks),
            lists=lists,
            fit_s=fit_s,
            rank_s=rank_s,
        )


def summarise(
    results: Sequence[ModelResult],
    users: NDArray[Any],
    share: NDArray[np.float64],
    texts: NDArray[np.floating] | None,
    settings: EvaluationSettings,
    seed: int,
) -> dict[str, Summary]:
    """Means with intervals by model name: hr, ndcg, mrr, coverage, novelty and diversity at k, and the seconds
    that were measured.

    users: who asked (T,); share: `metrics.user_share` (n,); texts: unit rows (n, e), absent where items have none. A
    figure that cannot be measured (diversity without texts) is None.
    """
    names = [f"{metric}@{settings.k}" for metric in ("hr", "ndcg", "mrr", "novelty", "diversity")]
    columns = [column for result in results for column in _per_target(result, share, texts)]
    bounds = iter(intervals(np.column_stack(columns), users, settings.bootstrap, seed))
    summaries: dict[str, Summary] = {}
    for result in results:
        summary: Summary = {}
        for name in names:
            _set_metric(summary, name, next(bounds))
        covered = coverage_interval(result.lists, users, len(share), settings.bootstrap, seed)
        _set_metric(summary, f"coverage@{settings.k}", covered)
        summary[f"coverage@{settings.k}"] = metrics.coverage(result.lists)
        timed = {"fit_s": result.fit_s, "rank_s": result.rank_s}
        summary.update({name: round(seconds, 2) for name, seconds in timed.items() if seconds is not None})
        summaries[result.name] = summary
    return summaries


def summarise_slices(
    results: Sequence[ModelResult],
    masks: dict[str, NDArray[np.bool_]],
    users: NDArray[Any],
    settings: EvaluationSettings,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """{slice: {"targets": count, "models": {model: hr and ndcg with intervals}}}, without the slices that are empty."""
    table: dict[str, dict[str, Any]] = {}
    for name, mask in masks.items():
        if not mask.any():
            continue
        columns = np.column_stack([values[mask] for result in results for values in (result.hr, result.ndcg)])
        bounds = iter(intervals(columns, users[mask], settings.bootstrap, seed))
        models: dict[str, Summary] = {}
        for result in results:
            summary = models[result.name] = {}
            _set_metric(summary, f"hr@{settings.k}", next(bounds))
            _set_metric(summary, f"ndcg@{settings.k}", next(bounds))
        table[name] = {"targets": int(mask.sum()), "models": models}
    return table


def _per_target(
    result: ModelResult, share: NDArray[np.float64], texts: NDArray[np.floating] | None
) -> list[NDArray[np.float64]]:
    missing = np.full(len(result.lists), np.nan)
    diversity = missing if texts is None else metrics.diversity(result.lists, texts)
    return [result.hr, result.ndcg, result.mrr, metrics.novelty(result.lists, share), diversity]


def _set_metric(summary: Summary, name: str, bounds: Interval) -> None:
    measured = not np.isnan(bounds.mean)
    summary[name] = bounds.mean if measured else None
    summary[f"{name}_interval"] = [bounds.low, bounds.high] if measured else None
