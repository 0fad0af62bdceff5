"""Evaluation of the twin on `rolling`, next to the baselines and the champion's twin: metrics, report, and gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.evaluation import gate, report
from components.evaluation.baselines import Popularity, RecentPopularity, interaction_matrix
from components.evaluation.exposure import exposure, exposure_by_users, item_groups, item_slices, user_slices
from components.evaluation.metrics import coverage, user_share
from components.evaluation.plots import write_plots
from components.evaluation.ranking import (
    past_trend,
    rank_bundle,
    rank_popularity,
    rank_served,
    target_rows,
    translate_rows,
    user_states,
)
from components.evaluation.results import ModelResult, Summary, summarise, summarise_slices
from components.evaluation.splits import TIME, Rolling
from components.histories.sequences import Documents
from components.ranking.lists import Rules
from components.ranking.scorer import Scorer
from components.settings import Settings

CHALLENGER, CHAMPION, POPULARITY, RECENT = "duotempo", "champion", "pop", "pop7"
SERVED = "as served"
"""The challenger with the configured re-ranking, to show its effect."""


@dataclass(frozen=True)
class TwinEvaluation:
    """The evaluation of a twin.

    Attributes:
        metrics: Metrics by model.
        slices: Metrics by slice, see `summarise_slices`.
        passed: Whether the gate passed.
        reasons: Details from the gate.
        report: Markdown, also written to `folder` with its plots.
    """

    metrics: dict[str, Summary]
    slices: dict[str, dict[str, Any]]
    passed: bool
    reasons: list[str]
    report: str
    folder: Path


def evaluate_twin(
    rolling: Rolling,
    twin: Bundle,
    champion: Bundle | None,
    documents: Documents,
    settings: Settings,
    folder: Path,
    *,
    facts: dict[str, object],
    critical_failures: Sequence[str],
) -> TwinEvaluation:
    """Ranks the targets of `rolling` with all models, applies the gate, and writes report.md and plots to `folder`.

    The gate compares on the targets after the cuts of both twins.

    Args:
        documents: Document vectors as of the anchors up to the twin's cut.
        champion: The champion's evaluation twin. It uses the documents only if it has the same encoder.
        facts: Shown in the report.
        critical_failures: One line per failed critical expectation.
    """
    k, seed = settings.evaluation.k, settings.fusion.seed
    scorer = live_scorer(twin, rolling, settings)
    targets = target_rows(rolling, scorer.row)
    users = rolling.targets[Columns.USER].to_numpy(dtype=object)
    states = user_states(rolling, scorer.row, documents, settings.events)
    lists, long_share = rank_bundle(scorer, states, k)
    results = [ModelResult.of(CHALLENGER, lists, targets)]
    for name, model in {POPULARITY: Popularity(), RECENT: RecentPopularity()}.items():
        lists = rank_popularity(model, rolling, scorer.row, k)
        results.append(ModelResult.of(name, lists, targets))
    if champion:
        lists = champion_lists(rolling, champion, scorer, documents, settings)
        results.append(ModelResult.of(CHAMPION, lists, targets))
    if Rules.of(settings.ranking).rerank:
        results.append(ModelResult.of(SERVED, rank_served(scorer, states, settings.ranking, k), targets))
    metrics = summarise(results, users, item_share(rolling, scorer.row), twin.texts, settings.evaluation, seed)
    history_sizes = np.array([len(state.items) for state in states])
    popularity = twin.items["popularity"].to_numpy()
    groups = item_groups(popularity, twin.items[Columns.CATEGORY].to_pylist())
    user_masks = user_slices(history_sizes, settings.evaluation)
    masks = user_masks | item_slices(targets, groups)
    slices = summarise_slices(results, masks, users, settings.evaluation, seed)
    verdict = gate_verdict(results, users, rolling, champion, settings, critical_failures)
    item_exposure, user_exposure = exposure(results, popularity, groups), exposure_by_users(results, user_masks, groups)
    plots = write_plots(folder, results, metrics, slices, item_exposure, popularity, long_share, k)
    markdown = report.report(
        "Evaluation on rolling", facts, metrics, slices, item_exposure, user_exposure, verdict, plots, k
    )
    (folder / "report.md").write_text(markdown, encoding="utf-8")
    return TwinEvaluation(metrics, slices, verdict.passed, verdict.reasons, markdown, folder)


def live_scorer(bundle: Bundle, rolling: Rolling, settings: Settings) -> Scorer:
    """A scorer with the trend as of each target's time, like the live trend of the service."""
    rows = {item: row for row, item in enumerate(bundle.items[Columns.ITEM].to_pylist())}
    return Scorer(bundle, past_trend(rolling, rows, settings.events))


def champion_lists(
    rolling: Rolling, champion: Bundle, scorer: Scorer, documents: Documents, settings: Settings
) -> NDArray[np.int64]:
    """Lists (targets, k) of the champion's twin, in item rows of the challenger's bundle."""
    champion_scorer = live_scorer(champion, rolling, settings)
    same_encoder = champion.manifest["encoder"] == scorer.bundle.manifest["encoder"]
    readable_documents = documents if same_encoder else Documents.none(champion.manifest["dimension"])
    lists, _ = rank_bundle(
        champion_scorer,
        user_states(rolling, champion_scorer.row, readable_documents, settings.events),
        settings.evaluation.k,
    )
    return translate_rows(lists, champion_scorer.row, scorer.row)


def gate_verdict(
    results: list[ModelResult],
    users: NDArray[Any],
    rolling: Rolling,
    champion: Bundle | None,
    settings: Settings,
    critical_failures: Sequence[str],
) -> gate.Verdict:
    """Applies the gate to the targets after the cuts of both twins."""
    later = np.ones(len(users), dtype=bool)
    if champion:
        cut = datetime.fromisoformat(champion.manifest["cut"]).timestamp()
        later = rolling.targets[TIME].to_numpy() >= cut
    if not later.any():
        reason = "no target is after the cut of the champion's twin: retrain with a later cut"
        clause = gate.Clause("champion", False, reason)
        return gate.Verdict(False, [f"champion: {reason}"], [clause])
    by_name = {result.name: result for result in results}
    challenger_result = by_name[CHALLENGER]
    champion_result = by_name.get(CHAMPION)
    return gate.apply_gate(
        ndcg=challenger_result.ndcg[later],
        coverage=coverage(challenger_result.lists[later]),
        users=users[later],
        popularity=by_name[POPULARITY].ndcg[later],
        recent_popularity=by_name[RECENT].ndcg[later],
        champion=gate.Champion(champion_result.ndcg[later], coverage(champion_result.lists[later]))
        if champion_result
        else None,
        critical_failures=critical_failures,
        resamples=settings.evaluation.bootstrap,
        seed=settings.fusion.seed,
    )


def item_share(rolling: Rolling, rows: dict[str, int]) -> NDArray[np.float64]:
    """Share of the training users with an event on each item (items,)."""
    users, names = pd.factorize(rolling.train[Columns.USER])
    items: NDArray[Any] = rolling.train[Columns.ITEM].map(rows).to_numpy(np.int64)
    return user_share(interaction_matrix(users, items, (len(names), len(rows))))
