"""snapshot > validate > interests > embed > fuse > evaluate > register."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from components.core.markdown import escaped, table, with_pictures
from components.evaluation.judgement import Judgement
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import latest_snapshot, take_snapshot
from components.training import evaluate as outcome
from components.training import run as steps
from components.training.fingerprint import custom_fusion, shaping
from components.training.run import TrainingRun
from components.validation import ValidationReport
from flows.policies import COSTLY, PATIENT, by_flow_run, by_inputs, by_inputs_and_champion, by_time
from infra.orchestration.client import run_deployment

EMBED_SECONDS = 7200.0
FUSE_SECONDS = 14 * 3600.0


@task(task_run_name="snapshot", timeout_seconds=900, **PATIENT)
def snapshot(settings: Settings, cut: datetime) -> Path:
    """An immutable Parquet snapshot of all events before the cut: the last one, when nothing has come since."""
    folder = settings.home / "snapshots"
    before = latest_snapshot(folder)
    engine = make_engine(database_url(settings))
    taken = take_snapshot(engine, cut, folder, previous=before.path if before else None)
    engine.dispose()
    rows = ", ".join(f"{count:,} {name}" for name, count in taken.manifest["rows"].items())
    get_run_logger().info("snapshot %s: %s", taken.path.name, rows)
    return taken.path


@task(task_run_name="earlier", timeout_seconds=120, **PATIENT)
def earlier(run: TrainingRun) -> dict[str, Any] | None:
    """What a retraining with nothing different has said."""
    return outcome.earlier_result(run, os.environ["MLFLOW_TRACKING_URI"])


@task(task_run_name="validate {stage}", timeout_seconds=900, cache_key_fn=by_inputs)
def validate(run: TrainingRun, stage: str, check: Callable[[TrainingRun], ValidationReport]) -> dict[str, Any]:
    """Runs the expectations of a stage; a failed critical one stops the flow here, a warning goes on record."""
    report = check(run)
    warnings = [f"{failure.suite}: {failure.message}" for failure in report.warnings]
    rows = [[suite, *(f"{figure:,.6g}" for figure in figures.values())] for suite, figures in report.statistics.items()]
    header = ["suite", *next(iter(report.statistics.values()), {})]
    told = [f"**warning** {escaped(warning)}" for warning in warnings] or ["No expectation failed."]
    told.append(f"MLflow keeps the whole report with the version, under `validation/{stage}`.")
    page = "\n\n".join([table(header, rows), *told])
    create_markdown_artifact(page, key=f"validation-{stage}", description=f"Expectations of the {stage}")
    return {"stage": stage, "statistics": report.statistics, "warnings": warnings, "docs": str(report.docs)}


@task(task_run_name="interests", timeout_seconds=3600, cache_key_fn=by_inputs, **COSTLY)
def interests(run: TrainingRun) -> Path:
    """Long-term and short-term interests as of the anchors, and the texts to embed."""
    return steps.extract_interests(run)


@task(task_run_name="embed", timeout_seconds=EMBED_SECONDS + 60, cache_key_fn=by_inputs, **PATIENT)
def embed(run: TrainingRun, texts: Path) -> dict[str, Any]:
    """U_l = LLM(D_l), U_s = LLM(D_s) and the item texts, by a worker of the gpu pool."""
    chosen = run.settings.embedding.model_dump(mode="json")
    parameters = {"texts_file": str(texts), "out_file": str(run.vectors_file), "settings": chosen}
    return _on_the_gpu_pool("embed", parameters, run, EMBED_SECONDS)


@task(task_run_name="fuse", timeout_seconds=FUSE_SECONDS + 60, cache_key_fn=by_inputs, **PATIENT)
def fuse(run: TrainingRun, encoder: str) -> dict[str, Any]:
    """Trains the evaluation twin and the model, by a worker of the gpu pool; a retry goes on from the checkpoints."""
    parameters = {
        "snapshot": str(run.snapshot_path),
        "folder": str(run.folder),
        "encoder": encoder,
        "settings": shaping(run.settings),
    }
    return _on_the_gpu_pool("fuse", parameters, run, FUSE_SECONDS)


def _on_the_gpu_pool(flow_name: str, parameters: dict[str, Any], run: TrainingRun, seconds: float) -> dict[str, Any]:
    """A run of that flow, named after this one and linked under it; a retry follows what goes on."""
    key, name = f"{flow_name} {run.key}", f"{flow_name} for {flow_run.name}"
    return dict(run_deployment(f"{flow_name}/gpu", parameters, key=key, run_name=name, again=True, timeout=seconds))


@task(task_run_name="evaluate", timeout_seconds=3600, cache_key_fn=by_inputs_and_champion, **PATIENT)
def evaluate(run: TrainingRun) -> Judgement:
    """The evaluation twin against popularity and the champion's twin, and the gate's word."""
    judgement = outcome.evaluate(run, os.environ["MLFLOW_TRACKING_URI"])
    page = with_pictures(judgement.report, judgement.folder)
    create_markdown_artifact(page, key="evaluation", description="Evaluation on rolling")
    return judgement


@task(task_run_name="register", timeout_seconds=900, cache_key_fn=by_flow_run, **PATIENT)
def register(run: TrainingRun, judgement: Judgement, encoder: str) -> str:
    """The users' document vectors in Postgres, and the version in MLflow, as challenger."""
    engine = make_engine(database_url(run.settings))
    outcome.store_user_vectors(run, encoder, engine)
    engine.dispose()
    return outcome.register(run, judgement, os.environ["MLFLOW_TRACKING_URI"])


@flow(
    name="retrain",
    flow_run_name=by_time("retrain"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=24 * 3600,
)
def retrain(cut: datetime | None = None) -> dict[str, Any]:
    """Trains a new version on all events before `cut` (when absent, the time it was due) and registers it.

    So a run that was killed and is retried has the same cut: it finds its snapshot, its vectors and its checkpoints.
    What another run has done with the same snapshot, settings and code is taken from there; when that run has come to
    its end, its result is returned (`unchanged`), and nothing is registered.
    """
    settings = Settings()
    custom_fusion(settings)  # one that does not work fails here, before all the work
    run = TrainingRun.open(snapshot(settings, cut or flow_run.scheduled_start_time), settings)
    if (found := earlier(run)) is not None:
        get_run_logger().info("nothing has changed since version %s", found["version"])
        return {**found, "unchanged": True}
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
    outcome.keep_result(run, result)
    return result


def database_url(settings: Settings) -> str:
    """Where Postgres is: the platform tells its workers. Raises ValueError outside of one."""
    if settings.database_url is None:
        raise ValueError("DUOTEMPO_DATABASE_URL is not set: flows run on the workers that `duotempo up` starts")
    return settings.database_url
