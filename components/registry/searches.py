"""A hyper-parameter search in MLflow: one run, and a run nested in it for each trial."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from components.registry.connection import connect, experiment
from components.registry.register import flatten

SEARCHES = "duotempo-search"
"""The experiment of the searches, beside the one of the registered versions."""
OBJECTIVE = "validation_gain"


def open_search(tracking_uri: str, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """The id of a new run with the settings in force. Raises RegistryError, RegistryUnavailable, as all here do."""
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
    """A finished trial as a run nested in the run `search`.

    state: complete, pruned or fail, with the reason. curve: validation gain by epoch; value: what it is compared by.
    """
    with connect(tracking_uri) as client:
        from mlflow.entities import Metric, Param
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        tags = {MLFLOW_PARENT_RUN_ID: search, "state": state, "reason": reason}
        run = client.create_run(
            client.get_run(search).info.experiment_id, _milliseconds(began), tags, f"trial {number}"
        ).info.run_id
        at = _milliseconds(over)
        metrics = [Metric("gain", gain, at, epoch) for epoch, gain in curve.items()]
        metrics += [Metric(OBJECTIVE, value, at, 0)] if value is not None else []
        client.log_batch(run, metrics, [Param(name, str(told)) for name, told in params.items()])
        client.set_terminated(run, "FAILED" if state == "fail" else "FINISHED", at)


def close_search(tracking_uri: str, search: str, metrics: Mapping[str, float], preset: Path) -> None:
    """Ends the run of a search with its figures and its preset."""
    with connect(tracking_uri) as client:
        for name, value in metrics.items():
            client.log_metric(search, name, value)
        client.log_artifact(search, str(preset), "preset")
        client.set_terminated(search)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
