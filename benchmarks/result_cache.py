"""Disk cache of evaluation results: a second run with the same code, settings and data trains nothing.

A result is NAME.json (the metrics, as `duotempo evaluate` writes them) and NAME.npz (the metrics of each target), in
`bench/` under the cache folder.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import components
from components.core.files import atomic_write
from components.datasets.sources import DESCRIPTION_FILE, EVENT_FILE, ITEM_FILE, read_folder
from components.evaluation.bootstrap import Interval, difference_interval, interval
from components.evaluation.offline import BASELINES, PEERS, PRODUCT, OfflineEvaluation
from components.evaluation.results import ModelResult
from components.fusion.fusions import make_fusion
from components.settings import EvaluationSettings, Settings

FINGERPRINTED_PACKAGES = ("fusion", "ranking", "interests", "embedding", "evaluation")
"""Packages of components whose source code affects the metrics."""
IGNORED_SETTINGS = {
    "preset", "home", "cache", "data_dir", "database_url", "ray_address", "log_level",
    "validation", "monitoring", "deploy", "retention", "platform", "security", "privacy",
}  # fmt: skip
"""Settings that do not affect the metrics: paths, logging, operation, and the preset's name (its values count)."""


@dataclass(frozen=True)
class CachedResult:
    """Evaluation of one model with one seed.

    Attributes:
        figures: Summary metrics by name, such as `ndcg@10`.
        slices: `{slice: {"targets", "models"}}`.
        ndcg: NDCG of each target, (targets,).
        hr: Hit rate of each target, (targets,).
        users: User id of each target, (targets,).
    """

    figures: dict[str, Any]
    slices: dict[str, Any]
    ndcg: NDArray[np.float64]
    hr: NDArray[np.float64]
    users: NDArray[np.str_]


def cached_results(folder: Path, split: str, models: Sequence[str], settings: Settings) -> dict[str, CachedResult]:
    """Results of `models` by name; those that are not cached are trained one after the other and cached.

    The seed is `settings.fusion.seed`. Raises DatasetError or EvaluationError, see `OfflineEvaluation`.
    """
    files = {model: result_file(folder, split, model, settings) for model in models}
    missing = [model for model in models if not files[model].is_file()]
    if missing:
        evaluation = OfflineEvaluation(read_folder(folder), split, settings, show_progress=True)
        for model in missing:
            write_result(files[model], evaluation, evaluation.result(model))
    return {model: read_result(file, model) for model, file in files.items()}


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A copy of the settings with values changed by dotted name, such as {"fusion.kind": "long"}.

    Raises pydantic's ValidationError for an unknown name or an invalid value.
    """
    for dotted, value in changes.items():
        name, field = dotted.split(".")
        section = getattr(settings, name)
        section = type(section).model_validate({**section.model_dump(), field: value})
        settings = settings.model_copy(update={name: section})
    return settings


def with_seeds(settings: Settings, seeds: int) -> list[Settings]:
    """One copy of the settings for each of `seeds` consecutive seeds, starting with the current one."""
    first = settings.fusion.seed
    return [with_changes(settings, {"fusion.seed": seed}) for seed in range(first, first + seeds)]


def pooled(seeds: Sequence[CachedResult], metric: str, settings: EvaluationSettings) -> Interval:
    """Mean of `ndcg` or `hr` over the targets of all seeds, with a bootstrap interval clustered by user.

    The targets of a user are resampled together, across all seeds.
    """
    values = np.concatenate([getattr(result, metric) for result in seeds])
    users = np.concatenate([result.users for result in seeds])
    return interval(values, users, settings.bootstrap, seed=0)


def pooled_difference(
    seeds: Sequence[CachedResult], others: Sequence[CachedResult], metric: str, settings: EvaluationSettings
) -> Interval:
    """Paired difference of the mean `ndcg` or `hr`, `seeds` minus `others`, on the same targets."""
    a, b = (np.concatenate([getattr(result, metric) for result in side]) for side in (seeds, others))
    users = np.concatenate([result.users for result in seeds])
    return difference_interval(a, b, users, settings.bootstrap, seed=0)


def write_result(file: Path, evaluation: OfflineEvaluation, result: ModelResult) -> None:
    """Writes a result. The JSON is written last and atomically, so a killed run leaves no partial result."""
    file.parent.mkdir(parents=True, exist_ok=True)
    users = evaluation.users.astype(str)
    np.savez_compressed(file.with_suffix(".npz"), ndcg=result.ndcg, hr=result.hr, users=users)
    with atomic_write(file) as part:
        part.write_text(json.dumps(evaluation.figures([result]), indent=1), encoding="utf-8")


def read_result(file: Path, model: str) -> CachedResult:
    """Reads a result that `write_result` wrote."""
    summary = json.loads(file.read_text(encoding="utf-8"))
    with np.load(file.with_suffix(".npz")) as arrays:
        return CachedResult(
            summary["models"][model], summary["slices"], ndcg=arrays["ndcg"], hr=arrays["hr"], users=arrays["users"]
        )


def result_file(folder: Path, split: str, model: str, settings: Settings) -> Path:
    """Path of a result; the name ends with the fingerprint of everything that affects the metrics."""
    name = f"{folder.name}-{split}-{model}-{settings.fusion.seed}-{fingerprint(folder, split, model, settings)[:16]}"
    return settings.cache / "bench" / f"{name}.json"


def fingerprint(folder: Path, split: str, model: str, settings: Settings) -> str:
    """SHA-256 of the dataset's files, the split, the model, the settings and the code, that of a custom fusion too.

    Raises UnknownFusion when the model names a fusion that does not exist.
    """
    relevant_settings = settings.model_dump(mode="json", exclude=IGNORED_SETTINGS)
    digest = hashlib.sha256(json.dumps([split, model, relevant_settings], sort_keys=True).encode())
    for name in (EVENT_FILE, ITEM_FILE, DESCRIPTION_FILE):
        if (folder / name).is_file():
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    for package in FINGERPRINTED_PACKAGES:
        for source in sorted((Path(components.__file__).parent / package).glob("*.py")):
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    if model not in (*BASELINES, *PEERS):
        kind = settings.fusion.kind if model == PRODUCT else model
        digest.update(Path(inspect.getfile(type(make_fusion(kind, settings.fusion.width)))).read_bytes())
    return digest.hexdigest()
