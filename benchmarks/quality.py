"""`duotempo bench quality`: Duotempo against its peers on public datasets, as the tables of docs/quality.md."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.provenance import ROOT, provenance
from benchmarks.result_cache import CachedResult, cached_results, pooled, with_seeds
from components.datasets.named import get
from components.evaluation.offline import DEFAULT_MODELS, PEERS, PRODUCT
from components.files.errors import DatasetError
from components.settings import EvaluationSettings, Settings

PAGE = ROOT / "docs" / "quality.md"
MARKER = "results"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a dataset is evaluated: its splits, and the number of seeds per model."""

    splits: tuple[str, ...]
    seeds: int = 1


DATASETS = {
    "ml-100k": Plan(("loo", "rolling"), seeds=3),
    "movielens-latest-small": Plan(("loo", "rolling")),
    "amazon-beauty-2014": Plan(("loo", "temporal", "rolling")),
}
Results = dict[tuple[str, str], dict[str, list[CachedResult]]]
"""By (dataset, split), then by model: one result per seed."""


def run(settings: Settings, *, dataset: str | None = None, page: Path = PAGE) -> dict[str, float]:
    """Evaluates all models and writes the tables into `page`; cached results are reused.

    Args:
        dataset: The only dataset to use; by default all of DATASETS.
        page: The Markdown file that holds the markers.

    Returns:
        Hit rate, NDCG and coverage by `dataset.split.model.metric`.

    Raises:
        BenchError: The dataset is unknown, or no dataset is available.
    """
    chosen = choose_datasets(dataset)
    folders = {name: folder for name in chosen if (folder := find_dataset(name, settings))}
    if not folders:
        raise BenchError(f"none of {', '.join(chosen)} is available: put a dataset folder into DUOTEMPO_DATA_DIR")
    results: Results = {
        (name, split): measure(folder, split, with_seeds(settings, DATASETS[name].seeds))
        for name, folder in folders.items()
        for split in DATASETS[name].splits
    }
    command = "quality" if dataset is None else f"quality --only {dataset}"
    missing = [name for name in chosen if name not in folders]
    write_between(page, MARKER, report(results, missing, command, settings.evaluation))
    return figures(results, settings.evaluation.k)


def choose_datasets(dataset: str | None) -> list[str]:
    """Names of the datasets to evaluate. Raises BenchError for an unknown one."""
    if dataset is not None and dataset not in DATASETS:
        raise BenchError(f"--only {dataset!r} is none of {', '.join(DATASETS)}")
    return [dataset] if dataset else list(DATASETS)


def find_dataset(name: str, settings: Settings) -> Path | None:
    """The dataset's folder; None, with a logged warning, when it is not available."""
    try:
        return get(name, settings)
    except DatasetError as error:
        log.warning("%s is left out: %s", name, error)
        return None


def measure(folder: Path, split: str, seeds: Sequence[Settings]) -> dict[str, list[CachedResult]]:
    """Results of each seed, by model. The peers do not support the rolling split."""
    models = DEFAULT_MODELS if split == "rolling" else (*DEFAULT_MODELS, *PEERS)
    runs = [cached_results(folder, split, models, settings) for settings in seeds]
    return {model: [run[model] for run in runs] for model in models}


def report(results: Results, missing: Sequence[str], command: str, settings: EvaluationSettings) -> str:
    """The Markdown between the markers."""
    parts = [provenance(command)]
    if missing:
        parts.append(f"Left out, because they were not available: {', '.join(missing)}.")
    for (dataset, split), models in results.items():
        parts.append(section(dataset, split, models, settings))
    return "\n\n".join(parts)


def section(dataset: str, split: str, models: dict[str, list[CachedResult]], settings: EvaluationSettings) -> str:
    """The heading and the table of one dataset under one split."""
    first = next(iter(models.values()))
    seeds = f"mean of {len(first)} seeds" if len(first) > 1 else "one seed"
    k = settings.k
    header = [
        "model", f"NDCG@{k} [95 %]", f"HR@{k} [95 %]", f"coverage@{k}", f"novelty@{k}", f"diversity@{k}",
        f"NDCG@{k} on cold items", "fit, s", "rank, s",
    ]  # fmt: skip
    rows = [
        [
            model,
            *(with_interval(runs, metric, settings) for metric in ("ndcg", "hr")),
            mean(runs, f"coverage@{k}", 0),
            mean(runs, f"novelty@{k}", 2),
            mean(runs, f"diversity@{k}", 3),
            cold_item_ndcg(model, runs, k),
            mean(runs, "fit_s", 1),
            mean(runs, "rank_s", 1),
        ]
        for model, runs in models.items()
    ]
    title = f"### {dataset}, {split}: {len(first[0].users):,} targets, {seeds}"
    return f"{title}\n\n{table(header, rows)}\n\n{beside_best_peer(models, k)}"


def beside_best_peer(models: dict[str, list[CachedResult]], k: int) -> str:
    """One sentence: the ratio of the product's NDCG to the best other model's, and the coverage of both."""

    def average(model: str, figure: str) -> float:
        return float(np.mean([run.figures[figure] for run in models[model]]))

    best = max((model for model in models if model != PRODUCT), key=lambda model: average(model, f"ndcg@{k}"))
    ratio = average(PRODUCT, f"ndcg@{k}") / average(best, f"ndcg@{k}")
    product_coverage, best_coverage = (average(model, f"coverage@{k}") for model in (PRODUCT, best))
    return (
        f"NDCG@{k} of {PRODUCT}: {ratio:.2f} times that of the best other, {best}; "
        f"items covered: {product_coverage:,.0f} against {best_coverage:,.0f}."
    )


def with_interval(runs: Sequence[CachedResult], metric: str, settings: EvaluationSettings) -> str:
    """`ndcg` or `hr` with its 95 % interval."""
    score = pooled(runs, metric, settings)
    return f"{score.mean:.4f} [{score.low:.4f}, {score.high:.4f}]"


def mean(runs: Sequence[CachedResult], figure: str, digits: int) -> str:
    """Mean of a metric over the seeds; a dash when it was not measured."""
    values = [run.figures[figure] for run in runs]
    return "-" if None in values else f"{np.mean(values):,.{digits}f}"


def cold_item_ndcg(model: str, runs: Sequence[CachedResult], k: int) -> str:
    """NDCG on targets whose item has no training event, with their number; a dash when there are none."""
    parts = [run.slices["cold items"] for run in runs if "cold items" in run.slices]
    if not parts:
        return "-"
    score = np.mean([part["models"][model][f"ndcg@{k}"] for part in parts])
    return f"{score:.4f} ({np.mean([part['targets'] for part in parts]):.0f})"


def figures(results: Results, k: int) -> dict[str, float]:
    """Means over the seeds, by `dataset.split.model.metric`."""
    return {
        f"{dataset}.{split}.{model}.{metric}": float(np.mean([run.figures[metric] for run in runs]))
        for (dataset, split), models in results.items()
        for model, runs in models.items()
        for metric in (f"ndcg@{k}", f"hr@{k}", f"coverage@{k}")
    }
