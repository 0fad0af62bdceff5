"""latest snapshot > pairs > adapt the encoder > fuse with the base and with it > compare > register.

Deployment `adapt/gpu`: the whole flow runs on the GPU worker. Expensive results are files (the encoder, the vector
cache, the checkpoints), so a retried run resumes from them, and task results are not persisted.
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
from flows.policies import RETRY, RETRY_LONG_RUNNING, named_by_time
from flows.retrain import snapshot

if TYPE_CHECKING:
    from components.adaptation.training import Adaptation


@task(task_run_name="pairs", persist_result=False, timeout_seconds=3600)
def pairs(run: AdaptationRun) -> Pairs:
    """Collects pairs of texts that users consumed one after the other, before the cut of `rolling`."""
    text_pairs = steps.collect_pairs(run)
    get_run_logger().info("%d pairs of %d texts", len(text_pairs), len(text_pairs.texts))
    return text_pairs


@task(task_run_name="adapt", persist_result=False, timeout_seconds=24 * 3600)
def train_encoder(run: AdaptationRun, text_pairs: Pairs) -> "Adaptation":
    """Trains the encoder contrastively; the output folder is written atomically."""
    return steps.train_encoder(run, text_pairs)


@task(task_run_name="fuse {which}", timeout_seconds=6 * 3600, **RETRY_LONG_RUNNING)
def fuse(run: TrainingRun, which: str) -> Path:
    """Trains the evaluation twin with one of the two encoders; a retry resumes from the last checkpoint."""
    return steps.train_twin(run)


@task(task_run_name="compare", persist_result=False, timeout_seconds=3600)
def compare(run: AdaptationRun, adaptation: "Adaptation") -> Comparison:
    """Compares both encoders on `rolling`, on cold items and on cold users."""
    comparison = steps.compare_encoders(run, adaptation)
    create_markdown_artifact(comparison.report, key="adaptation", description="An adapted encoder on rolling")
    return comparison


@task(task_run_name="register", timeout_seconds=900, **RETRY)
def register(run: AdaptationRun, adaptation: "Adaptation", comparison: Comparison) -> Registered:
    """Registers the encoder as a version of `duotempo-encoder`."""
    return register_encoder(run, adaptation, comparison, os.environ["MLFLOW_TRACKING_URI"])


@flow(name="adapt", flow_run_name=named_by_time("adapt"), persist_result=True, result_serializer="json")
def adapt() -> dict[str, Any]:
    """Fine-tunes the configured encoder on the latest snapshot, evaluates it and registers it.

    Takes a snapshot if there is none. The encoder is not used until DUOTEMPO_EMBEDDING__MODEL names its folder,
    which is `encoder` of the result.
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
        "differences": {name: list(interval) for name, interval in comparison.differences.items()},
        "gate": {"passed": comparison.passed, "reasons": comparison.reasons},
    }
