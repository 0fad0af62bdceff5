"""latest snapshot > pairs > adapt the encoder > fuse with the base and with it > compare > register.

Deployment `adapt/gpu`: the whole flow runs where the GPU is. What costs much lies in files (the encoder, the cache of
vectors, the checkpoints), so that a run that is retried goes on from them, and no result of a task is kept beside.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from components.adaptation import run as steps
from components.adaptation.comparison import Comparison
from components.adaptation.pairs import Pairs
from components.adaptation.register import register_encoder
from components.adaptation.run import AdaptationRun
from components.registry import Registered
from components.settings import Settings
from components.store.snapshot import latest_snapshot
from components.training.run import TrainingRun
from flows.policies import COSTLY, PATIENT, by_time
from flows.retrain import snapshot

if TYPE_CHECKING:
    from components.adaptation.training import Adaptation


@task(task_run_name="pairs", persist_result=False, timeout_seconds=3600)
def pairs(run: AdaptationRun) -> Pairs:
    """Texts that people took up one after the other, before the cut of `rolling`."""
    found = steps.collect_pairs(run)
    get_run_logger().info("%d pairs of %d texts", len(found), len(found.texts))
    return found


@task(task_run_name="adapt", persist_result=False, timeout_seconds=24 * 3600)
def train_encoder(run: AdaptationRun, found: Pairs) -> "Adaptation":
    """Contrastive training; the folder appears whole or not at all."""
    return steps.train_encoder(run, found)


@task(task_run_name="fuse {which}", timeout_seconds=6 * 3600, **COSTLY)
def fuse(run: TrainingRun, which: str) -> Path:
    """The evaluation twin with one of the two encoders; a retry goes on from the last checkpoint."""
    return steps.train_twin(run)


@task(task_run_name="compare", persist_result=False, timeout_seconds=3600)
def compare(run: AdaptationRun, adaptation: "Adaptation") -> Comparison:
    """Gain or loss on `rolling`, on cold items and on cold users."""
    comparison = steps.compare_encoders(run, adaptation)
    create_markdown_artifact(comparison.report, key="adaptation", description="An adapted encoder on rolling")
    return comparison


@task(task_run_name="register", timeout_seconds=900, **PATIENT)
def register(run: AdaptationRun, adaptation: "Adaptation", comparison: Comparison) -> Registered:
    """The encoder as a version of `duotempo-encoder`."""
    return register_encoder(run, adaptation, comparison, os.environ["MLFLOW_TRACKING_URI"])


@flow(name="adapt", flow_run_name=by_time("adapt"), persist_result=True, result_serializer="json")
def adapt() -> dict[str, Any]:
    """Adapts the encoder of the settings to the latest snapshot, judges it and registers it.

    Where there is no snapshot yet, one is taken. Nothing else changes: the encoder is in use once
    DUOTEMPO_EMBEDDING__MODEL names its folder, which is `encoder` of the result.
    """
    settings = Settings()
    latest = latest_snapshot(settings.home / "snapshots")
    run = AdaptationRun.open(latest.path if latest else snapshot(settings, datetime.now(UTC)), settings)
    adaptation = train_encoder(run, pairs(run))
    fuse(run.base, "base")
    fuse(run.adapted, "adapted")
    comparison = compare(run, adaptation)
    registered = register(run, adaptation, comparison)
    return {
        "version": registered.version,
        "url": registered.url,
        "encoder": str(run.encoder),
        "held_out": {"pairs": adaptation.held_out, "mrr_base": adaptation.mrr_base, "mrr": adaptation.mrr},
        "metrics": comparison.metrics,
        "slices": comparison.slices,
        "differences": {name: list(found) for name, found in comparison.differences.items()},
        "gate": {"passed": comparison.passed, "reasons": comparison.reasons},
    }
