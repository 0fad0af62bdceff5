"""Steps after the training: evaluation, registration, and the saved result of the run."""

import json
import logging
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from components import registry
from components.bundle.bundle import Bundle, BundleError, SchemaMismatch
from components.core.checksums import DamagedFile, reading
from components.core.files import atomic_write
from components.evaluation.twin import TwinEvaluation, evaluate_twin
from components.store.history import write_documents
from components.training.run import TrainingRun

log = logging.getLogger(__name__)


def evaluate(run: TrainingRun, tracking_uri: str) -> TwinEvaluation:
    """Evaluates the twin on `rolling` against the popularity baselines and the champion's twin.

    The champion is skipped if there is none or its bundle cannot be read; the report says so.
    """
    champion = registry.champion(tracking_uri)
    compared, twin_of_champion = "none yet", None
    if champion:
        compared = f"version {champion.version}"
        folder = run.folder.parent / "champions" / champion.version
        try:
            twin_of_champion = Bundle.read(registry.download_twin(tracking_uri, champion.version, folder))
        except BundleError as error:
            log.warning("no comparison with the champion: %s", error)
            fault = "of another schema" if isinstance(error, SchemaMismatch) else "damaged"
            compared += f", not compared: its bundle is {fault}"
    manifest = run.snapshot.manifest
    return evaluate_twin(
        run.rolling,
        Bundle.read(run.bundle("twin")),
        twin_of_champion,
        run.documents("twin"),
        run.settings,
        run.folder / "report",
        facts={
            "snapshot": run.snapshot_path.name,
            "cut of the snapshot": manifest["cut"],
            "cut of the evaluation twin": run.cut("twin").isoformat(),
            "events": manifest["rows"]["events"],
            "items": manifest["rows"]["items"],
            "targets": len(run.rolling.targets),
            "champion": compared,
        },
        critical_failures=[],
    )


def register(run: TrainingRun, judgement: TwinEvaluation, tracking_uri: str) -> str:
    """Registers the model as challenger, with its twin and all reports, and returns the version."""
    metrics = {
        f"{model}.{name}": float(value)
        for model, figures in judgement.metrics.items()
        for name, value in figures.items()
        if isinstance(value, int | float)
    }
    return registry.register(
        tracking_uri,
        bundle=run.bundle("model"),
        twin=run.bundle("twin"),
        snapshot=run.snapshot_path,
        metrics=metrics,
        settings=run.settings.model_dump(mode="json"),
        passed=judgement.passed,
        reasons=judgement.reasons,
        reports={"report": judgement.folder, "validation": run.folder / "validation"},
    ).version


def save_result(run: TrainingRun, result: dict[str, Any]) -> None:
    """Saves the result of a retraining, for reuse by a later one with the same inputs."""
    with atomic_write(run.result_file) as part:
        part.write_text(json.dumps(result), encoding="utf-8")


def find_saved_result(run: TrainingRun, tracking_uri: str) -> dict[str, Any] | None:
    """The saved result for the same snapshot, settings and code, if the registry still has its version."""
    if not run.result_file.is_file():
        return None
    tags = {version.version: version.tags for version in registry.versions(tracking_uri)}
    try:
        with reading(run.result_file, "the retraining runs again"):
            result: dict[str, Any] = json.loads(run.result_file.read_text(encoding="utf-8"))
            has_version = tags.get(result["version"], {}).get("snapshot_id") == run.snapshot.manifest["id"]
    except DamagedFile as error:
        log.warning("%s", error)
        return None
    return result if has_version else None


def store_user_vectors(run: TrainingRun, encoder: str, engine: Engine) -> int:
    """Writes LLM(D_l) and LLM(D_s) of all users as of the cut to Postgres and returns the number of users."""
    documents = run.documents("model")
    latest = pd.Series(documents.as_of).groupby(documents.users).idxmax().to_numpy()
    return write_documents(
        engine,
        encoder,
        documents.users[latest].tolist(),
        pd.to_datetime(documents.as_of[latest], unit="s", utc=True).to_pydatetime().tolist(),
        documents.vectors[latest, 0],
        documents.vectors[latest, 1],
    )
