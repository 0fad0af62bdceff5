"""`duotempo bench ablation`: each component of the model removed or replaced in turn, as a table and a plot of
docs/quality.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.provenance import ROOT, provenance
from benchmarks.result_cache import CachedResult, cached_results, pooled, pooled_difference, with_changes, with_seeds
from components.datasets.named import get
from components.evaluation.bootstrap import Interval
from components.evaluation.offline import PRODUCT, SPLITS
from components.evaluation.plots import INK, LONG
from components.fusion.fusions import make_fusion
from components.settings import EvaluationSettings, Settings

PAGE = ROOT / "docs" / "quality.md"
MARKER = "ablation"
PLOT = "ablation.png"
DATASET = "ml-100k"
DEFAULT_SPLITS = ("loo", "rolling")

ABLATIONS: dict[str, dict[str, Any]] = {
    "long only": {"fusion.kind": "long"},
    "short only": {"fusion.kind": "short"},
    "weighted": {"fusion.kind": "weighted"},
    "concat": {"fusion.kind": "concat"},
    "attention": {"fusion.kind": "attention"},
    "gated": {"fusion.kind": "gated"},
    "LLM text off": {"fusion.text": False},
    "document vectors off": {"fusion.documents": False},
    "hybrid off": {"ranking.mixture": False},
    "no augmentation": {"fusion.item_dropout": 0.0, "fusion.id_dropout": 0.0, "fusion.gap_dropout": 0.0},
    "ties in any order": {"fusion.shuffle_ties": True},
    "no document is dropped": {"fusion.anchor_dropout": 0.0},
    "512 sampled negatives": {"fusion.full_softmax_below": 0},
    "256 sampled, 256 in-batch": {
        "fusion.full_softmax_below": 0,
        "fusion.negatives": 256,
        "fusion.in_batch_negatives": 256,
    },
    "no weight average": {"fusion.weight_average": 0.0},
    "held-out events not learned": {"fusion.finish_epochs": 0},
}
"""Settings that each ablation changes, by its name in the table. To add an ablation, add an entry."""


@dataclass(frozen=True)
class AblationResult:
    """Metrics of one ablation, and their paired difference from the default; both by metric, `ndcg` and `hr`."""

    score: dict[str, Interval]
    difference: dict[str, Interval]


AblationResults = dict[str, AblationResult]


def run(
    settings: Settings,
    *,
    dataset: str = DATASET,
    split: str | None = None,
    seeds: int = 1,
    fusion: str | None = None,
    page: Path = PAGE,
) -> dict[str, float]:
    """Runs the ablations and writes the table into `page` and the plot beside it; cached results are reused.

    Args:
        dataset: Name of the dataset, as in `duotempo data list`.
        split: The only split to use; by default each of DEFAULT_SPLITS.
        seeds: Number of seeds that each ablation is trained with.
        fusion: A custom fusion (`module:Class`) to add to the ablations.
        page: The Markdown file that holds the markers.

    Returns:
        Metrics by `split.ablation.metric`.

    Raises:
        BenchError: The split is unknown, or an ablation changes the targets.
        DatasetError: The dataset is not available.
        UnknownFusion: The custom fusion does not exist.
    """
    if split is not None and split not in SPLITS:
        raise BenchError(f"--split {split!r} is none of {', '.join(SPLITS)}")
    if fusion:
        make_fusion(fusion, settings.fusion.width)  # raises UnknownFusion before anything is trained
    splits = (split,) if split else DEFAULT_SPLITS
    ablations = {**ABLATIONS, **({fusion: {"fusion.kind": fusion}} if fusion else {})}
    folder = get(dataset, settings)
    results = {split_name: measure(folder, split_name, with_seeds(settings, seeds), ablations) for split_name in splits}
    options = {"dataset": dataset, "split": split, "seeds": seeds if seeds > 1 else None, "fusion": fusion}
    command = " ".join(["ablation", *(f"--{name} {value}" for name, value in options.items() if value)])
    draw(results, settings.evaluation.k).savefig(page.with_name(PLOT), dpi=100, facecolor="white")
    write_between(page, MARKER, report(dataset, seeds, results, command, settings.evaluation))
    return {
        f"{split_name}.{ablation}.{name}": value
        for split_name, rows in results.items()
        for ablation, row in rows.items()
        for name, value in figures(row, settings.evaluation.k).items()
    }


def measure(
    folder: Path, split: str, seeds: Sequence[Settings], ablations: Mapping[str, dict[str, Any]]
) -> AblationResults:
    """Evaluates the default and each ablation on the same targets.

    Raises BenchError when an ablation changes the targets: the paired comparison would be invalid.
    """
    default = product_results(folder, split, seeds)
    rows = {"default": compare(default, default, seeds[0].evaluation)}
    for name, changes in ablations.items():
        runs = product_results(folder, split, [with_changes(settings, changes) for settings in seeds])
        if any(not np.array_equal(a.users, b.users) for a, b in zip(runs, default, strict=True)):
            raise BenchError(
                f"the ablation {name!r} has other targets than the default: remove the settings that change the split"
            )
        rows[name] = compare(runs, default, seeds[0].evaluation)
    return rows


def product_results(folder: Path, split: str, seeds: Sequence[Settings]) -> list[CachedResult]:
    return [cached_results(folder, split, [PRODUCT], settings)[PRODUCT] for settings in seeds]


def compare(
    runs: Sequence[CachedResult], default: Sequence[CachedResult], settings: EvaluationSettings
) -> AblationResult:
    """Metrics of an ablation and their paired differences from the default."""
    return AblationResult(
        score={metric: pooled(runs, metric, settings) for metric in ("ndcg", "hr")},
        difference={metric: pooled_difference(runs, default, metric, settings) for metric in ("ndcg", "hr")},
    )


def figures(row: AblationResult, k: int) -> dict[str, float]:
    """The means of an ablation by metric name."""
    return {
        **{f"{metric}@{k}": score.mean for metric, score in row.score.items()},
        **{f"{metric}@{k}_difference": difference.mean for metric, difference in row.difference.items()},
    }


def report(
    dataset: str, seeds: int, results: Mapping[str, AblationResults], command: str, settings: EvaluationSettings
) -> str:
    """The Markdown between the markers."""
    k = settings.k
    header = ["ablation", f"NDCG@{k}", "difference from default [95 %]", f"HR@{k}", "difference from default [95 %]"]
    parts = [provenance(command), f"![Difference in NDCG from the default, by ablation]({PLOT})"]
    for split, rows in results.items():
        lines = [
            [name, *(text for metric in ("ndcg", "hr") for text in difference_columns(row, metric))]
            for name, row in rows.items()
        ]
        count = f"{seeds} seeds" if seeds > 1 else "one seed"
        parts.append(f"### {dataset}, {split}, {count}\n\n{table(header, lines)}\n\n{verdict(rows)}")
    return "\n\n".join(parts)


def verdict(rows: AblationResults) -> str:
    """One sentence: which ablations differ significantly from the default in NDCG, and which do not."""
    differences = {name: row.difference["ndcg"] for name, row in rows.items() if name != "default"}
    worse = [name for name, difference in differences.items() if difference.high < 0]
    better = [name for name, difference in differences.items() if difference.low > 0]
    inconclusive = [name for name in differences if name not in (*worse, *better)]
    return (
        f"By NDCG, with a 95 % interval that excludes zero: worse than the default {join_names(worse)}; better "
        f"{join_names(better)}. No significant difference: {join_names(inconclusive)}."
    )


def join_names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def difference_columns(row: AblationResult, metric: str) -> tuple[str, str]:
    """A metric, and its difference from the default with the 95 % interval; bold when the interval excludes zero."""
    difference = row.difference[metric]
    text = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    significant = difference.low > 0 or difference.high < 0
    return f"{row.score[metric].mean:.4f}", f"**{text}**" if significant else text


def draw(results: Mapping[str, AblationResults], k: int) -> Figure:
    """One panel per split: the difference in NDCG from the default, with 95 % intervals, one point per ablation."""
    names = [name for name in next(iter(results.values())) if name != "default"]
    figure = Figure(figsize=(1 + 4.5 * len(results), 1.4 + 0.32 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)
    for axes, (split, rows) in zip(panels.flat, results.items(), strict=True):
        bounds = np.array([rows[name].difference["ndcg"] for name in names])
        spread = np.abs(bounds[:, 1:].T - bounds[:, 0])
        axes.errorbar(bounds[:, 0], names, xerr=spread, fmt="o", color=LONG, ecolor=LONG, elinewidth=1.5, capsize=3)
        axes.axvline(0, color=INK, linewidth=1, linestyle="--")
        axes.set_title(f"{split}: difference in NDCG@{k} from the default", loc="left", fontsize=10, color=INK)
        axes.grid(axis="x", color="#e6e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
    panels.flat[0].invert_yaxis()  # the axis is shared; puts the first ablation on top
    return figure
