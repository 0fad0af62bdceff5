"""Retry policies, result-cache keys and flow run names."""

import os
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.runtime import flow_run

from components import registry
from components.core.errors import DuotempoError
from components.registry import RegistryUnavailable
from components.sources.source import SourceUnavailable
from components.store.engine import StoreError
from infra.orchestration.client import DeploymentLost

TRANSIENT_ERRORS = (StoreError, RegistryUnavailable, DeploymentLost, SourceUnavailable)
"""Duotempo's errors that may be gone on a retry: a server or a source is down, a worker has died."""


def named_by_time(what: str) -> Callable[[], str]:
    """Names runs `WHAT 2026-11-29 03:00` by their scheduled time (UTC), which a retry does not change."""
    return lambda: f"{what} {flow_run.scheduled_start_time:%Y-%m-%d %H:%M}"


def is_transient(_task: Any, _run: Any, state: State) -> bool:
    """Whether a retry may help. Errors in the data or the settings would recur."""
    return isinstance(state.data, TRANSIENT_ERRORS) or not isinstance(state.data, DuotempoError)


RETRY: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [2, 5, 15], "retry_condition_fn": is_transient}
"""For tasks that call a server or a worker."""


RETRY_LONG_RUNNING: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [5, 30], "retry_condition_fn": is_transient}
"""For long computations that resume from where they stopped."""


def by_inputs(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key: the training run (snapshot, settings, code), the task and its string arguments."""
    words = [value for value in parameters.values() if isinstance(value, str)]
    return "-".join([parameters["run"].key, context.task.name, *words])


def by_inputs_and_champion(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key: as `by_inputs`, and the champion's version."""
    champion = registry.champion_number(os.environ["MLFLOW_TRACKING_URI"])
    return f"{by_inputs(context, parameters)}-{champion}"


def by_flow_run(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key: as `by_inputs`, and the flow run, which may be retried."""
    return f"{by_inputs(context, parameters)}-{context.task_run.flow_run_id}"
