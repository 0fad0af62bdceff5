"""Retry policies and result-cache keys, and what a flow run is called."""

import os
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.runtime import flow_run

from components import registry
from components.core.errors import DuotempoError
from components.registry import RegistryUnavailable
from components.store.engine import StoreError
from infra.orchestration.client import DeploymentLost

PASSING = (StoreError, RegistryUnavailable, DeploymentLost)
"""Errors of ours that another try may not meet: a server is down, a worker has died."""


def by_time(what: str) -> Callable[[], str]:
    """`WHAT 2026-11-29 03:00`, by the time (UTC) the run was due, which a retry does not change."""
    return lambda: f"{what} {flow_run.scheduled_start_time:%Y-%m-%d %H:%M}"


def may_pass(_task: Any, _run: Any, state: State) -> bool:
    """Whether another try may help. What is wrong with the data or the settings is wrong again."""
    return isinstance(state.data, PASSING) or not isinstance(state.data, DuotempoError)


PATIENT: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [2, 5, 15], "retry_condition_fn": may_pass}
"""For what asks a server or a worker."""


COSTLY: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [5, 30], "retry_condition_fn": may_pass}
"""For what computes long, and goes on from where it got."""


def by_inputs(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """A result holds for the same training run (snapshot, settings, code), task and words."""
    words = [value for value in parameters.values() if isinstance(value, str)]
    return "-".join([parameters["run"].key, context.task.name, *words])


def by_inputs_and_champion(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """...and against the same champion."""
    champion = registry.champion_number(os.environ["MLFLOW_TRACKING_URI"])
    return f"{by_inputs(context, parameters)}-{champion}"


def by_flow_run(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """...and in the same flow run, which may be retried."""
    return f"{by_inputs(context, parameters)}-{context.task_run.flow_run_id}"
