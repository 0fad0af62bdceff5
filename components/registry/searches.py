"""Logs a hyper-parameter search to MLflow: one run with a nested run per trial."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from components.registry.connection import connect, experiment
from components.registry.register import flatten

SEARCHES = "duotempo-search"
"""The experiment of the searches, separate from that of the registered versions."""
OBJECTIVE = "validation_gain"


def open_search(tracking_uri: str, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Starts a run with the base settings and returns its id. Raises RegistryError, RegistryUnavailable."""
    with connect(tracking_uri) as client:
        from mlflow.entities import Param

        run = client.create_run(experiment(client, SEARCHES), tags=dict(tags), run_name=name).info.run_id
        client.log_batch(run, params=[Param(key, str(value)) for key, value in flatten(settings)])
    return run


def log_trial(
    tracking_uri: str,
    search: str,
    *,
    number: int,
    state: str,
    reason: str,
    params: Mapping[str, Any],
    curve: Mapping[int, float],
    value: float | None,
    began: datetime,
    over: datetime,
) -> None:
    """Logs a finished trial as a nested run of the run `search`.

    Args:
        state: complete, pruned or fail.
        curve: Validation gain by epoch.
        value: The objective; None without one.
        began: Start of the trial.
        over: End of the trial.
    """
    with connect(tracking_uri) as client:
        from mlflow.entities import Metric, Param
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        tags = {MLFLOW_PARENT_RUN_ID: search, "state": state, "reason": reason}
        run = client.create_run(
            client.get_run(search).info.experiment_id, _milliseconds(began), tags, f"trial {number}"
        ).info.run_id
        end = _milliseconds(over)
        metrics = [Metric("gain", gain, end, epoch) for epoch, gain in curve.items()]
        metrics += [Metric(OBJECTIVE, value, end, 0)] if value is not None else []
        client.log_batch(run, metrics, [Param(name, str(setting)) for name, setting in params.items()])
        client.set_terminated(run, "FAILED" if state == "fail" else "FINISHED", end)


def close_search(tracking_uri: str, search: str, metrics: Mapping[str, float], preset: Path) -> None:
    """Ends the run of a search with its metrics and the preset that it found."""
    with connect(tracking_uri) as client:
        for name, value in metrics.items():
            client.log_metric(search, name, value)
        client.log_artifact(search, str(preset), "preset")
        client.set_terminated(search)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
