"""Gain or loss of an adapted encoder: two fusion models that differ in nothing but their encoder, on `rolling`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.evaluation.bootstrap import Interval, difference_interval
from components.evaluation.exposure import exposure, exposure_by_users, item_groups, item_slices, user_slices
from components.evaluation.gate import WORST_LOSS, Clause, Verdict
from components.evaluation.judgement import item_share, live_scorer
from components.evaluation.ranking import rank_bundle, target_rows, user_states
from components.evaluation.report import report
from components.evaluation.results import ModelResult, Summary, summarise, summarise_slices
from components.ranking.scorer import Scorer
from components.training.run import TrainingRun

BASE, ADAPTED = "base", "adapted"
ALL = "all targets"


@dataclass(frozen=True)
class Comparison:
    """metrics: figures by model; slices: as of `summarise_slices`; differences: NDCG of adapted minus base with its
    95 % interval, over all targets and by slice; report: Markdown."""

    metrics: dict[str, Summary]
    slices: dict[str, dict[str, Any]]
    differences: dict[str, Interval]
    passed: bool
    reasons: list[str]
    report: str


def compare(base: TrainingRun, adapted: TrainingRun, facts: Mapping[str, object]) -> Comparison:
    """Ranks the targets of `rolling` with the twins of two runs of one snapshot, and says whether the adapted encoder
    is better: see `make_verdict`.

    facts: what was compared, by name, for the report. Diversity is measured by the vectors of the base encoder.
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
    """The verdict on differences of NDCG from a base encoder's mean NDCG.

    It passes with a gain that is more than chance (a lower bound above zero) on all targets or on cold items, which
    are what an encoder is for, and no loss on all targets (by the rule of the gate's champion clause).
    """
    overall = differences[ALL]
    gains = [
        f"{name} {_format_difference(difference)}"
        for name, difference in differences.items()
        if name in (ALL, "cold items")
    ]
    has_gain = any(differences[name].low > 0 for name in (ALL, "cold items") if name in differences)
    no_loss = overall.high >= 0 and overall.mean >= -WORST_LOSS * base
    clauses = [
        Clause("gain", has_gain, f"difference of NDCG: {', '.join(gains)}; one lower bound must be above zero"),
        Clause(
            "no loss",
            no_loss,
            f"difference of NDCG: {_format_difference(overall)}; the upper bound must reach zero and the mean lose at "
            f"most {WORST_LOSS:.0%} ({WORST_LOSS * base:.4f})",
        ),
    ]
    failed = [clause for clause in clauses if not clause.passed]
    return Verdict(not failed, [f"{clause.name}: {clause.detail}" for clause in failed or clauses], clauses)


def _format_difference(difference: Interval) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
