"""snapshot > validate > interests > embed > fuse > evaluate > register."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from components.core.markdown import escaped, inline_images, table
from components.evaluation.twin import TwinEvaluation
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import latest_snapshot, take_snapshot
from components.training import evaluate as outcome
from components.training import run as steps
from components.training.fingerprint import custom_fusion, version_settings
from components.training.run import TrainingRun
from components.validation import ValidationReport
from flows.policies import RETRY, RETRY_LONG_RUNNING, by_flow_run, by_inputs, by_inputs_and_champion, named_by_time
from infra.orchestration.client import run_deployment

EMBED_SECONDS = 7200.0
FUSE_SECONDS = 14 * 3600.0


@task(task_run_name="snapshot", timeout_seconds=900, **RETRY)
def snapshot(settings: Settings, cut: datetime) -> Path:
    """Takes an immutable Parquet snapshot of all events before the cut; reuses the last one if nothing is new."""
    folder = settings.home / "snapshots"
    before = latest_snapshot(folder)
    engine = make_engine(database_url(settings))
    taken = take_snapshot(engine, cut, folder, previous=before.path if before else None)
    engine.dispose()
    rows = ", ".join(f"{count:,} {name}" for name, count in taken.manifest["rows"].items())
    get_run_logger().info("snapshot %s: %s", taken.path.name, rows)
    return taken.path


@task(task_run_name="earlier", timeout_seconds=120, **RETRY)
def earlier(run: TrainingRun) -> dict[str, Any] | None:
    """Returns the result of an earlier retraining with the same inputs, or None."""
    return outcome.find_saved_result(run, os.environ["MLFLOW_TRACKING_URI"])


@task(task_run_name="validate {stage}", timeout_seconds=900, cache_key_fn=by_inputs)
def validate(run: TrainingRun, stage: str, check: Callable[[TrainingRun], ValidationReport]) -> dict[str, Any]:
    """Runs the expectations of a stage; a failed critical one stops the flow, a warning is recorded."""
    report = check(run)
    warnings = [f"{failure.suite}: {failure.message}" for failure in report.warnings]
    rows = [[suite, *(f"{figure:,.6g}" for figure in figures.values())] for suite, figures in report.statistics.items()]
    header = ["suite", *next(iter(report.statistics.values()), {})]
    notes = [f"**warning** {escaped(warning)}" for warning in warnings] or ["No expectation failed."]
    notes.append(f"MLflow keeps the whole report with the version, under `validation/{stage}`.")
    page = "\n\n".join([table(header, rows), *notes])
    create_markdown_artifact(page, key=f"validation-{stage}", description=f"Expectations of the {stage}")
    return {"stage": stage, "statistics": report.statistics, "warnings": warnings, "docs": str(report.docs)}


@task(task_run_name="interests", timeout_seconds=3600, cache_key_fn=by_inputs, **RETRY_LONG_RUNNING)
def interests(run: TrainingRun) -> Path:
    """Extracts long-term and short-term interests as of the anchors; returns the file of texts to embed."""
    return steps.extract_interests(run)


@task(task_run_name="embed", timeout_seconds=EMBED_SECONDS + 60, cache_key_fn=by_inputs, **RETRY)
def embed(run: TrainingRun, texts: Path) -> dict[str, Any]:
    """Embeds the documents, U_l = LLM(D_l) and U_s = LLM(D_s), and the item texts, on the gpu pool."""
    chosen = run.settings.embedding.model_dump(mode="json")
    parameters = {"texts_file": str(texts), "out_file": str(run.vectors_file), "settings": chosen}
    return _on_the_gpu_pool("embed", parameters, run, EMBED_SECONDS)


@task(task_run_name="fuse", timeout_seconds=FUSE_SECONDS + 60, cache_key_fn=by_inputs, **RETRY)
def fuse(run: TrainingRun, encoder: str) -> dict[str, Any]:
    """Trains the evaluation twin and the model, on the gpu pool; a retry resumes from the checkpoints."""
    parameters = {
        "snapshot": str(run.snapshot_path),
        "folder": str(run.folder),
        "encoder": encoder,
        "settings": version_settings(run.settings),
    }
    return _on_the_gpu_pool("fuse", parameters, run, FUSE_SECONDS)


def _on_the_gpu_pool(flow_name: str, parameters: dict[str, Any], run: TrainingRun, seconds: float) -> dict[str, Any]:
    """Runs a flow on the gpu pool as a child of this one; a retry follows the run that is still going."""
    key, name = f"{flow_name} {run.key}", f"{flow_name} for {flow_run.name}"
    return dict(run_deployment(f"{flow_name}/gpu", parameters, key=key, run_name=name, again=True, timeout=seconds))


@task(task_run_name="evaluate", timeout_seconds=3600, cache_key_fn=by_inputs_and_champion, **RETRY)
def evaluate(run: TrainingRun) -> TwinEvaluation:
    """Evaluates the twin against popularity and the champion's twin, with the gate's verdict."""
    judgement = outcome.evaluate(run, os.environ["MLFLOW_TRACKING_URI"])
    page = inline_images(judgement.report, judgement.folder)
    create_markdown_artifact(page, key="evaluation", description="Evaluation on rolling")
    return judgement


@task(task_run_name="register", timeout_seconds=900, cache_key_fn=by_flow_run, **RETRY)
def register(run: TrainingRun, judgement: TwinEvaluation, encoder: str) -> str:
    """Stores the users' document vectors in Postgres and registers the version in MLflow, as challenger."""
    engine = make_engine(database_url(run.settings))
    outcome.store_user_vectors(run, encoder, engine)
    engine.dispose()
    return outcome.register(run, judgement, os.environ["MLFLOW_TRACKING_URI"])


@flow(
    name="retrain",
    flow_run_name=named_by_time("retrain"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=24 * 3600,
)
def retrain(cut: datetime | None = None) -> dict[str, Any]:
    """Trains a new version on all events before `cut` and registers it.

    Steps that another run completed with the same snapshot, settings and code are reused. If that run has finished,
    its result is returned (`unchanged`) and nothing is registered.

    Args:
        cut: Exclusive end of the events; by default the run's scheduled time. A retried run therefore has the same cut
            and finds its snapshot, vectors and checkpoints.
    """
    settings = Settings()
    custom_fusion(settings)  # fails early if it cannot be loaded
    run = TrainingRun.open(snapshot(settings, cut or flow_run.scheduled_start_time), settings)
    if (find_saved_result := earlier(run)) is not None:
        get_run_logger().info("nothing has changed since version %s", find_saved_result["version"])
        return {**find_saved_result, "unchanged": True}
    checks = [validate(run, "snapshot", steps.validate_snapshot)]
    embedded = embed(run, interests(run))
    checks.append(validate(run, "features", steps.validate_features))
    training = fuse(run, embedded["encoder"])
    judgement = evaluate(run)
    version = register(run, judgement, embedded["encoder"])
    result = {
        "version": version,
        "unchanged": False,
        "snapshot": str(run.snapshot_path),
        "validation": checks,
        "embedding": embedded,
        "training": training,
        "metrics": judgement.metrics,
        "slices": judgement.slices,
        "gate": {"passed": judgement.passed, "reasons": judgement.reasons},
    }
    outcome.save_result(run, result)
    return result


def database_url(settings: Settings) -> str:
    """URL of Postgres, which the platform passes to its workers. Raises ValueError without a platform."""
    if settings.database_url is None:
        raise ValueError("DUOTEMPO_DATABASE_URL is not set: flows run on the workers that `duotempo up` starts")
    return settings.database_url
