"""`duotempo bench ablation`: what each part of the product is worth, as a table and a plot of docs/quality.md."""

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
    "rare items weigh more": {"fusion.rarity_weight": 0.3},
    "stronger events weigh more": {"fusion.event_weight": 1.0},
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
"""What is changed of the default, by the name in the table. A further cell is a line."""


@dataclass(frozen=True)
class AblationResult:
    """What a cell reached, and how far that is from the default on the same targets; by metric, `ndcg` and `hr`."""

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
    """Trains what is not kept yet, writes table and plot into and beside `page`; figures by split.cell.metric.

    fusion: one's own, as module:Class, a cell more. Raises BenchError for an unknown split, DatasetError when the
    dataset cannot be had, UnknownFusion for a fusion that is none.
    """
    if split is not None and split not in SPLITS:
        raise BenchError(f"--split {split!r} is none of {', '.join(SPLITS)}")
    if fusion:
        make_fusion(fusion, settings.fusion.width)  # one that is none is refused before anything is trained
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
    """The default and each of the `ablations` cells, all on the same targets.

    Raises BenchError when a cell changes the targets, as it cannot be compared then.
    """
    default = product_results(folder, split, seeds)
    rows = {"default": compare(default, default, seeds[0].evaluation)}
    for name, changes in ablations.items():
        runs = product_results(folder, split, [with_changes(settings, changes) for settings in seeds])
        if any(not np.array_equal(a.users, b.users) for a, b in zip(runs, default, strict=True)):
            raise BenchError(f"the cell {name!r} has other targets than the default: leave out what changes the split")
        rows[name] = compare(runs, default, seeds[0].evaluation)
    return rows


def product_results(folder: Path, split: str, seeds: Sequence[Settings]) -> list[CachedResult]:
    return [cached_results(folder, split, [PRODUCT], settings)[PRODUCT] for settings in seeds]


def compare(
    runs: Sequence[CachedResult], default: Sequence[CachedResult], settings: EvaluationSettings
) -> AblationResult:
    """A cell beside the default."""
    return AblationResult(
        score={metric: pooled(runs, metric, settings) for metric in ("ndcg", "hr")},
        difference={metric: pooled_difference(runs, default, metric, settings) for metric in ("ndcg", "hr")},
    )


def figures(row: AblationResult, k: int) -> dict[str, float]:
    """The numbers of a row by name."""
    return {
        **{f"{metric}@{k}": score.mean for metric, score in row.score.items()},
        **{f"{metric}@{k}_difference": difference.mean for metric, difference in row.difference.items()},
    }


def report(
    dataset: str, seeds: int, results: Mapping[str, AblationResults], command: str, settings: EvaluationSettings
) -> str:
    """The whole text between the markers."""
    k = settings.k
    header = ["cell", f"NDCG@{k}", "less the default [95 %]", f"HR@{k}", "less the default [95 %]"]
    parts = [provenance(command), f"![NDCG less the default's, by cell]({PLOT})"]
    for split, rows in results.items():
        lines = [
            [name, *(text for metric in ("ndcg", "hr") for text in difference_columns(row, metric))]
            for name, row in rows.items()
        ]
        count = f"{seeds} seeds" if seeds > 1 else "one seed"
        parts.append(f"### {dataset}, {split}, {count}\n\n{table(header, lines)}\n\n{verdict(rows)}")
    return "\n\n".join(parts)


def verdict(rows: AblationResults) -> str:
    """Which cells are better or worse than the default by NDCG, and which the split cannot tell from it."""
    differences = {name: row.difference["ndcg"] for name, row in rows.items() if name != "default"}
    worse = [name for name, difference in differences.items() if difference.high < 0]
    better = [name for name, difference in differences.items() if difference.low > 0]
    inconclusive = [name for name in differences if name not in (*worse, *better)]
    return (
        f"By NDCG, more than by chance: worse than the default {join_names(worse)}; better {join_names(better)}. "
        f"Not told apart from it here, so of no shown use or harm: {join_names(inconclusive)}."
    )


def join_names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def difference_columns(row: AblationResult, metric: str) -> tuple[str, str]:
    """A figure, and its difference to the default; bold where the interval leaves out zero."""
    difference = row.difference[metric]
    text = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    significant = difference.low > 0 or difference.high < 0
    return f"{row.score[metric].mean:.4f}", f"**{text}**" if significant else text


def draw(results: Mapping[str, AblationResults], k: int) -> Figure:
    """One panel a split: NDCG less the default's with its 95 % interval, a point a cell."""
    names = [name for name in next(iter(results.values())) if name != "default"]
    figure = Figure(figsize=(1 + 4.5 * len(results), 1.4 + 0.32 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)
    for axes, (split, rows) in zip(panels.flat, results.items(), strict=True):
        bounds = np.array([rows[name].difference["ndcg"] for name in names])
        spread = np.abs(bounds[:, 1:].T - bounds[:, 0])
        axes.errorbar(bounds[:, 0], names, xerr=spread, fmt="o", color=LONG, ecolor=LONG, elinewidth=1.5, capsize=3)
        axes.axvline(0, color=INK, linewidth=1, linestyle="--")
        axes.set_title(f"{split}: NDCG@{k} less the default's", loc="left", fontsize=10, color=INK)
        axes.grid(axis="x", color="#e6e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
    panels.flat[0].invert_yaxis()  # shared: the first cell on top
    return figure
