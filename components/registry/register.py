"""Registers a trained model in MLflow, with its provenance and evaluation."""

import json
import logging
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from components.bundle.bundle import CHECKSUM
from components.core.columns import Columns
from components.registry.connection import NAME, RegistryError, connect, experiment
from components.registry.model_pages import ensure_model_pages
from components.registry.versions import AT, BUNDLE_TAG, version_url
from components.store.variants import CHALLENGER

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

log = logging.getLogger(__name__)

COMPONENTS = Path(__file__).parents[1]
MODEL_FILE = Path(__file__).with_name("pyfunc.py")
MODEL_PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "pyarrow", "scipy")
UNLOGGED = frozenset({"database_url", "sources"})
"""Settings that are never logged."""
DIGEST_LENGTH = 36
"""MLflow's limit for a dataset's digest."""


@dataclass(frozen=True)
class Registered:
    """A new version: its number, its run and its URL in MLflow's UI."""

    version: str
    run_id: str
    url: str


def register(
    tracking_uri: str,
    *,
    bundle: Path,
    twin: Path,
    snapshot: Path,
    metrics: Mapping[str, float],
    settings: Mapping[str, Any],
    passed: bool,
    reasons: Sequence[str],
    reports: Mapping[str, Path],
) -> Registered:
    """Logs one run and registers its model as the new `challenger`.

    The version becomes visible only after everything is logged, together with its tags.

    Args:
        bundle: Folder of the model to be served.
        twin: Folder of the evaluation twin's bundle.
        snapshot: Folder of the snapshot, the run's input.
        settings: Nested; logged flat (`fusion.width`), without secrets.
        passed: Whether the gate passed.
        reasons: The gate's reasons.
        reports: Files or folders by their name among the run's artefacts.

    Raises:
        RegistryError: An input is missing, or MLflow refuses a request.
        RegistryUnavailable: MLflow does not answer.
    """
    model, evaluated, source = (_manifest(folder) for folder in (bundle, twin, snapshot))
    for path in reports.values():
        if not path.exists():
            raise RegistryError(f"{path} is missing: nothing was registered; run the retraining again")
    tags = {
        "gate": "passed" if passed else "failed",
        "gate_reason": "; ".join(reasons),
        "git_commit": git_commit(COMPONENTS),
        "snapshot_id": str(source["id"]),
        "cut": str(model["cut"]),
        "twin_cut": str(evaluated["cut"]),
        BUNDLE_TAG: str(model.get(CHECKSUM, "")),
    }
    with connect(tracking_uri) as client:
        import mlflow

        name = f"retrain {tags['cut'][:16].replace('T', ' ')}"
        with mlflow.start_run(experiment_id=experiment(client, NAME), run_name=name, tags=tags) as run:
            mlflow.log_params(dict(flatten(settings)))
            mlflow.log_metrics({name.replace("@", AT): value for name, value in metrics.items()})
            _log_snapshot(snapshot, source)
            mlflow.log_artifacts(str(twin), "twin")
            for name, path in reports.items():
                log_files = mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact
                log_files(str(path), name)
            model_uri = _log_model(bundle)
        number = str(mlflow.register_model(model_uri, NAME, tags=tags).version)
        client.set_registered_model_alias(NAME, CHALLENGER, number)
    ensure_model_pages(tracking_uri)
    registered = Registered(number, run.info.run_id, version_url(tracking_uri, number))
    log.info("registered %s version %s: %s", NAME, number, registered.url)
    return registered


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted name, value) of every setting except secrets and the sources of ingest."""
    for name, value in settings.items():
        if name in UNLOGGED:
            continue
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def git_commit(folder: Path) -> str:
    """The git commit of the repository that contains `folder`, or `unknown`."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (FileNotFoundError, subprocess.SubprocessError) as error:
        log.info("no git commit of %s: %s", folder, error)
        return "unknown"
    return answer.stdout.strip()


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    if not file.is_file():
        raise RegistryError(f"{file} is missing: nothing was registered; run the retraining again")
    return json.loads(file.read_text(encoding="utf-8"))


def _log_snapshot(snapshot: Path, manifest: Mapping[str, Any]) -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at import

    source = LocalArtifactDatasetSource(snapshot.resolve().as_uri())
    digest = str(manifest["id"])[:DIGEST_LENGTH]
    mlflow.log_input(MetaDataset(source, name="snapshot", digest=digest), context="training")  # type: ignore[abstract]
    mlflow.log_dict(dict(manifest), "snapshot/manifest.json")


def _log_model(bundle: Path) -> str:
    """Logs the bundle as a pyfunc model from code and returns its models:/ URI."""
    import mlflow
    import pandas as pd  # 50 MB in the hook, which only reads the registry

    items = pq.read_table(bundle / "items.parquet", columns=[Columns.ITEM]).slice(0, 3)[Columns.ITEM].to_pylist()
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(MODEL_FILE),
        artifacts={"bundle": str(bundle)},
        code_paths=[str(COMPONENTS)],
        signature=_signature(),
        input_example=pd.DataFrame({"history": [items], "k": [10]}),
        pip_requirements=[f"{package}=={installed(package)}" for package in MODEL_PACKAGES],
    ).model_uri


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.string), "history"), ColSpec(DataType.long, "k")]),
        outputs=Schema([ColSpec(Array(DataType.string), "item_ids"), ColSpec(Array(DataType.double), "scores")]),
    )
