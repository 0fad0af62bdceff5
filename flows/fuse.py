"""Deployment `fuse/gpu`: trains the evaluation twin and the model of one retraining on a GPU worker."""

from pathlib import Path
from typing import Any, cast
from uuid import UUID

import torch
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from components.fusion.training import Progress
from components.settings import Settings
from components.training.fingerprint import settings_of
from components.training.on_ray import train_distributed
from components.training.run import MODEL_ROLES, ModelRole, TrainingRun
from components.training.train import train as train_alone
from flows.policies import RETRY_LONG_RUNNING, by_inputs
from infra.orchestration.client import worker


@task(task_run_name="fuse {role}", timeout_seconds=6 * 3600, cache_key_fn=by_inputs, **RETRY_LONG_RUNNING)
def train(run: TrainingRun, role: ModelRole, encoder: str) -> Path:
    """Trains U = f(U_l, U_s), on Ray if configured; a retry resumes from the last checkpoint."""
    epochs = run.settings.fusion.epochs
    bar = cast(UUID, create_progress_artifact(0.0, key=f"fusion-{role}", description=f"Epochs of the {role}"))

    def report_progress(progress: Progress) -> None:
        update_progress_artifact(bar, 100 * progress.epoch / epochs)

    if run.settings.ray_address or run.settings.fusion.workers > 1:
        return train_distributed(run, role, encoder, report_progress)
    return train_alone(run, role, encoder, report_progress)


@flow(name="fuse", persist_result=True, result_serializer="json", timeout_seconds=13 * 3600)
def fuse(snapshot: str, folder: str, encoder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Trains both models in the folder of a training run.

    A model that an earlier run trained with the same inputs is reused.

    Args:
        settings: The sections of the settings that determine a version (`components.training.fingerprint.shaping`).

    Returns:
        JSON: worker and device.
    """
    chosen = settings_of(settings).model_copy(update={"ray_address": Settings().ray_address})
    run = TrainingRun(Path(snapshot), Path(folder), chosen)
    placement = {"worker": worker(), "device": device()}
    get_run_logger().info("training on %s", placement)
    for role in MODEL_ROLES:
        train(run, role, encoder)
    create_table_artifact(table=[placement], key="fusion", description="Where the fusion was trained")
    return placement


def device() -> str:
    """Name of the GPU, or `cpu`."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
