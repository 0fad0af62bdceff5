"""Evaluation of an adapted encoder: two fusion models that differ only in the encoder, on the `rolling` split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.evaluation.bootstrap import Interval, difference_interval
from components.evaluation.exposure import exposure, exposure_by_users, item_groups, item_slices, user_slices
from components.evaluation.gate import MAX_NDCG_LOSS, Clause, Verdict
from components.evaluation.ranking import rank_bundle, target_rows, user_states
from components.evaluation.report import report
from components.evaluation.results import ModelResult, Summary, summarise, summarise_slices
from components.evaluation.twin import item_share, live_scorer
from components.ranking.scorer import Scorer
from components.training.run import TrainingRun

BASE, ADAPTED = "base", "adapted"
ALL = "all targets"


@dataclass(frozen=True)
class Comparison:
    """Result of comparing the adapted encoder with its base.

    Attributes:
        metrics: Metrics by model, `base` and `adapted`.
        slices: As returned by `summarise_slices`.
        differences: NDCG of adapted minus base with the 95 % interval, over ALL targets and by slice.
        passed: Whether the adapted encoder passed the gate.
        reasons: The clauses that failed, or all clauses if it passed.
        report: Markdown.
    """

    metrics: dict[str, Summary]
    slices: dict[str, dict[str, Any]]
    differences: dict[str, Interval]
    passed: bool
    reasons: list[str]
    report: str


def compare(base: TrainingRun, adapted: TrainingRun, facts: Mapping[str, object]) -> Comparison:
    """Ranks the targets of `rolling` with the twins of two runs on the same snapshot; see `make_verdict`.

    Diversity is measured with the text vectors of the base encoder.

    Args:
        facts: Properties of the comparison by name, for the report.
    """
    settings, rolling = base.settings.evaluation, base.rolling
    twin = Bundle.read(base.bundle("twin"))
    rows = Scorer(twin).row
    targets = target_rows(rolling, rows)
    users = rolling.targets[Columns.USER].to_numpy(dtype=object)
    results, sizes = [], np.empty(0)
    for name, run in ((BASE, base), (ADAPTED, adapted)):
        scorer = live_scorer(Bundle.read(run.bundle("twin")), rolling, run.settings)
        states = user_states(rolling, scorer.row, run.documents("twin"), run.settings.events)
        sizes = np.array([len(state.items) for state in states])
        results.append(ModelResult.of(name, rank_bundle(scorer, states, settings.k)[0], targets))

    seed = base.settings.fusion.seed
    popularity = twin.items["popularity"].to_numpy()
    groups = item_groups(popularity, twin.items["category"].to_pylist())
    by_user = user_slices(sizes, settings)
    masks = {name: mask for name, mask in (by_user | item_slices(targets, groups)).items() if mask.any()}
    differences = {
        name: difference_interval(results[1].ndcg[mask], results[0].ndcg[mask], users[mask], settings.bootstrap, seed)
        for name, mask in {ALL: np.ones(len(targets), dtype=bool), **masks}.items()
    }
    metrics = summarise(results, users, item_share(rolling, rows), twin.texts, settings, seed)
    parts = summarise_slices(results, masks, users, settings, seed)
    verdict = make_verdict(differences, float(results[0].ndcg.mean()))
    exposures, exposures_by_user = exposure(results, popularity, groups), exposure_by_users(results, by_user, groups)
    markdown = report(
        "An adapted encoder on rolling", facts, metrics, parts, exposures, exposures_by_user, verdict, [], settings.k
    )
    return Comparison(metrics, parts, differences, verdict.passed, verdict.reasons, markdown)


def make_verdict(differences: Mapping[str, Interval], base: float) -> Verdict:
    """Gate of an adapted encoder.

    It passes with a significant gain (lower bound above zero) on all targets or on cold items, where an encoder matters
    most, and without a loss on all targets (the rule of the gate's champion clause).

    Args:
        differences: NDCG of adapted minus base, by slice; ALL is required.
        base: Mean NDCG of the base encoder.
    """
    overall = differences[ALL]
    gains = [
        f"{name} {_format_difference(difference)}"
        for name, difference in differences.items()
        if name in (ALL, "cold items")
    ]
    has_gain = any(differences[name].low > 0 for name in (ALL, "cold items") if name in differences)
    no_loss = overall.high >= 0 and overall.mean >= -MAX_NDCG_LOSS * base
    clauses = [
        Clause("gain", has_gain, f"difference of NDCG: {', '.join(gains)}; one lower bound must be above zero"),
        Clause(
            "no loss",
            no_loss,
            f"difference of NDCG: {_format_difference(overall)}; the upper bound must reach zero and the mean lose at "
            f"most {MAX_NDCG_LOSS:.0%} ({MAX_NDCG_LOSS * base:.4f})",
        ),
    ]
    failed = [clause for clause in clauses if not clause.passed]
    return Verdict(not failed, [f"{clause.name}: {clause.detail}" for clause in failed or clauses], clauses)


def _format_difference(difference: Interval) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
