"""snapshot > validate > interests > embed > fuse > evaluate > register."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from components import training_run as run
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import latest_snapshot, take_snapshot
from infra.client import run_deployment

ONCE_MORE = {"retries": 1, "retry_delay_seconds": 5}


@task(retries=3, retry_delay_seconds=[2, 5, 15], timeout_seconds=600)
def snapshot(settings: Settings, cut: datetime) -> Path:
    """An immutable Parquet snapshot of all events before the cut."""
    folder = settings.home / "snapshots"
    taken = take_snapshot(make_engine(settings.database_url), cut, folder, previous=latest_snapshot(folder))
    get_run_logger().info("snapshot %s: %s", taken.path, taken.manifest["rows"])
    return taken.path


@task(timeout_seconds=600)
def validate(work: run.TrainingRun, stage: str) -> dict[str, Any]:
    """Runs the expectations of a stage; a failed critical one stops the flow here."""
    report = run.validate(work, stage)
    create_markdown_artifact(report.markdown(), key=f"validation-{stage}", description=f"Expectations of {stage}")
    report.raise_if_critical()
    return report.summary()


@task(timeout_seconds=1800, **ONCE_MORE)
def interests(work: run.TrainingRun) -> Path:
    """Long-term and short-term interests as of the anchors, and the texts to embed."""
    return run.extract_interests(work)


@task(timeout_seconds=7200, **ONCE_MORE)
def embed(work: run.TrainingRun, texts: Path) -> dict[str, Any]:
    """U_l = LLM(D_l), U_s = LLM(D_s) and the item texts, by a worker of the GPU pool."""
    parameters = {"texts_file": str(texts), "out_file": str(work.vectors_file)}
    return run_deployment("embed/gpu", parameters, timeout=7200)


@task(timeout_seconds=6 * 3600, retries=2, retry_delay_seconds=5)
def fuse(work: run.TrainingRun, part: run.Part, encoder: str) -> Path:
    """Trains U = f(U_l, U_s); a retry resumes from the last checkpoint."""
    epochs = work.settings.fusion.epochs
    bar = create_progress_artifact(0.0, key=f"fusion-{part}", description=f"Training of the {part}")
    return run.train(
        work, part, encoder, lambda progress: update_progress_artifact(bar, 100 * progress.epoch / epochs)
    )


@task(timeout_seconds=3600, **ONCE_MORE)
def evaluate(work: run.TrainingRun, tracking_uri: str) -> run.Judgement:
    """The evaluation twin against popularity and the champion's twin, and the gate's word."""
    judgement = run.evaluate(work, tracking_uri)
    create_markdown_artifact(judgement.report, key="evaluation", description="Evaluation on rolling")
    return judgement


@task(timeout_seconds=600, **ONCE_MORE)
def register(work: run.TrainingRun, judgement: run.Judgement, tracking_uri: str) -> str:
    """The version in MLflow, as challenger, and the users' document vectors in Postgres."""
    return run.register(work, judgement, tracking_uri)


@flow(name="retrain", log_prints=False)
def retrain(cut: datetime | None = None) -> dict[str, Any]:
    """Trains a new version on all events before `cut` (now, when absent) and registers it."""
    settings = Settings()
    tracking_uri = run.tracking_uri()
    path = snapshot(settings, cut or datetime.now(UTC))
    work = run.TrainingRun.open(path, settings)
    checks = [validate(work, "snapshot")]
    texts = interests(work)
    embedded = embed(work, texts)
    checks.append(validate(work, "features"))
    for part in run.PARTS:
        fuse(work, part, embedded["encoder"])
    judgement = evaluate(work, tracking_uri)
    version = register(work, judgement, tracking_uri)
    return {
        "version": version,
        "snapshot": str(path),
        "validation": checks,
        "embedding": embedded,
        "metrics": judgement.metrics,
        "gate": {"passed": judgement.passed, "reasons": judgement.reasons},
    }
