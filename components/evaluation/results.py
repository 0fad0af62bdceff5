"""Metrics of a model per target, and their summaries with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from components.evaluation import metrics
from components.evaluation.bootstrap import Interval, coverage_interval, intervals
from components.settings import EvaluationSettings

Summary = dict[str, Any]
"""Values by metric name, e.g. `ndcg@10`, with bounds as `ndcg@10_interval`: [low, high]."""


@dataclass(frozen=True)
class ModelResult:
    """Lists of a model and their metrics per target.

    Attributes:
        name: Of the model.
        ndcg: NDCG@k (targets,).
        hr: Hit rate@k (targets,).
        mrr: Reciprocal rank@k (targets,).
        lists: Item rows (targets, k), padded with -1.
        fit_s: Seconds of the training, if measured.
        rank_s: Seconds of the ranking, if measured.
    """

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
        """Computes the metrics of `lists` (targets, k) against the targets' item rows (targets,)."""
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
    """Means with intervals by model: hr, ndcg, mrr, coverage, novelty and diversity at k, and measured seconds.

    A metric that cannot be computed (diversity without texts) is None.

    Args:
        users: User of each target (targets,).
        share: `metrics.user_share` (items,).
        texts: Unit text vectors (items, encoder dims), or None without texts.
        seed: Of the bootstrap.
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
    """HR and NDCG with intervals per slice of the targets.

    Args:
        masks: Masks (targets,) by slice.

    Returns:
        {slice: {"targets": count, "models": {model: summary}}}, without empty slices.
    """
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
