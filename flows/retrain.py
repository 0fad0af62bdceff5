"""snapshot > validate > interests > embed > fuse > evaluate > register."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from components import training_run as steps
from components.evaluation.judgement import Judgement
from components.fusion.fusions import make_fusion
from components.fusion.training import Progress
from components.ray.training import train_together
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import latest_snapshot, take_snapshot
from components.training_run import PARTS, Part, TrainingRun
from components.validation import ValidationReport
from infra.client import run_deployment

EMBED_SECONDS = 7200.0


@task(task_run_name="snapshot", retries=3, retry_delay_seconds=[2, 5, 15], timeout_seconds=900)
def snapshot(settings: Settings, cut: datetime) -> Path:
    """An immutable Parquet snapshot of all events before the cut."""
    folder = settings.home / "snapshots"
    before = latest_snapshot(folder)
    engine = make_engine(database_url(settings))
    taken = take_snapshot(engine, cut, folder, previous=before.path if before else None)
    engine.dispose()
    get_run_logger().info("snapshot %s: %s", taken.path, taken.manifest["rows"])
    return taken.path


@task(task_run_name="validate {stage}", timeout_seconds=900)
def validate(run: TrainingRun, stage: str, check: Callable[[TrainingRun], ValidationReport]) -> dict[str, Any]:
    """Runs the expectations of a stage; a failed critical one stops the flow here, a warning goes on record."""
    report = check(run)
    warnings = [f"{failure.suite}: {failure.message}" for failure in report.warnings]
    lines = [f"- {suite}: {figures}" for suite, figures in report.statistics.items()]
    page = "\n".join([*lines, "", *(f"- **warning** {warning}" for warning in warnings), "", str(report.docs)])
    create_markdown_artifact(page, key=f"validation-{stage}", description=f"Expectations of the {stage}")
    return {"stage": stage, "statistics": report.statistics, "warnings": warnings, "docs": str(report.docs)}


@task(task_run_name="interests", timeout_seconds=3600, retries=1)
def interests(run: TrainingRun) -> Path:
    """Long-term and short-term interests as of the anchors, and the texts to embed."""
    return steps.extract_interests(run)


@task(task_run_name="embed", timeout_seconds=EMBED_SECONDS, retries=1)
def embed(run: TrainingRun, texts: Path) -> dict[str, Any]:
    """U_l = LLM(D_l), U_s = LLM(D_s) and the item texts, by a worker of the gpu pool."""
    chosen = run.settings.embedding.model_dump(mode="json")
    parameters = {"texts_file": str(texts), "out_file": str(run.vectors_file), "settings": chosen}
    return dict(run_deployment("embed/gpu", parameters, timeout=EMBED_SECONDS))


@task(task_run_name="fuse {part}", timeout_seconds=6 * 3600, retries=2, retry_delay_seconds=5)
def fuse(run: TrainingRun, part: Part, encoder: str) -> Path:
    """Trains U = f(U_l, U_s), on Ray if the settings say so; a retry goes on from the last checkpoint."""
    epochs = run.settings.fusion.epochs
    bar = cast(UUID, create_progress_artifact(0.0, key=f"fusion-{part}", description=f"Epochs of the {part}"))

    def show(progress: Progress) -> None:
        update_progress_artifact(bar, 100 * progress.epoch / epochs)

    if run.settings.ray_address or run.settings.fusion.workers > 1:
        return train_together(run, part, encoder, show)
    return steps.train(run, part, encoder, show)


@task(task_run_name="evaluate", timeout_seconds=3600, retries=1)
def evaluate(run: TrainingRun) -> Judgement:
    """The evaluation twin against popularity and the champion's twin, and the gate's word."""
    judgement = steps.evaluate(run, os.environ["MLFLOW_TRACKING_URI"])
    create_markdown_artifact(judgement.report, key="evaluation", description="Evaluation on rolling")
    return judgement


@task(task_run_name="register", timeout_seconds=900, retries=1)
def register(run: TrainingRun, judgement: Judgement, encoder: str) -> str:
    """The users' document vectors in Postgres, and the version in MLflow, as challenger."""
    engine = make_engine(database_url(run.settings))
    steps.store_user_vectors(run, encoder, engine)
    engine.dispose()
    return steps.register(run, judgement, os.environ["MLFLOW_TRACKING_URI"])


@flow(name="retrain", persist_result=True, result_serializer="json")
def retrain(cut: datetime | None = None) -> dict[str, Any]:
    """Trains a new version on all events before `cut` (when absent, the time it was due) and registers it.

    So a run that was killed and is retried has the same cut: it finds its snapshot, its vectors and its checkpoints.
    """
    settings = Settings()
    make_fusion(settings.fusion.kind, settings.fusion.width)  # an unknown one fails here, before all the work
    run = TrainingRun.open(snapshot(settings, cut or flow_run.scheduled_start_time), settings)
    checks = [validate(run, "snapshot", steps.validate_snapshot)]
    embedded = embed(run, interests(run))
    checks.append(validate(run, "features", steps.validate_features))
    for part in PARTS:
        fuse(run, part, embedded["encoder"])
    judgement = evaluate(run)
    version = register(run, judgement, embedded["encoder"])
    return {
        "version": version,
        "snapshot": str(run.snapshot_path),
        "validation": checks,
        "embedding": embedded,
        "metrics": judgement.metrics,
        "slices": judgement.slices,
        "gate": {"passed": judgement.passed, "reasons": judgement.reasons},
    }


def database_url(settings: Settings) -> str:
    """Where Postgres is: the platform tells its workers. Raises ValueError outside of one."""
    if settings.database_url is None:
        raise ValueError("DUOTEMPO_DATABASE_URL is not set: flows run on the workers that `duotempo up` starts")
    return settings.database_url
