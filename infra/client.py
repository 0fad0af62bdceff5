"""Runs a deployment by its name, from any process that knows PREFECT_API_URL."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

POLL_SECONDS = 0.5
PATIENCE = 20
"""Polls in a row that may fail while the server is started again."""

Update = Callable[[str, str], None]


class DeploymentError(Exception):
    """A deployment is not there, or its run did not complete; the message names the run's page."""


def run_deployment(
    name: str, parameters: dict[str, Any], *, timeout: float, on_update: Update | None = None
) -> "FlowRun":
    """Runs the deployment `FLOW/NAME` and returns its completed flow run.

    `on_update` is told each new state of the flow run (as `FLOW/NAME`) and of its tasks: `("interests", "Completed")`.
    Raises DeploymentError when there is no server or no such deployment, when the run ends in any other state than
    Completed (with that state's message), and when it has not ended after `timeout` seconds; it then runs on.
    """
    from httpx import HTTPError
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.exceptions import ObjectNotFound

    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise DeploymentError("PREFECT_API_URL is not set: `duotempo up` starts Prefect's server")
    with SyncPrefectClient(api=api) as client:
        try:
            deployment = client.read_deployment_by_name(name)
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        except ObjectNotFound as error:
            raise DeploymentError(f"Prefect has no deployment {name}: `duotempo up` deploys what is missing") from error
        except HTTPError as error:
            raise DeploymentError(
                f"Prefect's server at {api} does not answer ({error}): see `duotempo status`"
            ) from error
        return _follow(client, run.id, name, f"{api.removesuffix('/api')}/runs/flow-run/{run.id}", timeout, on_update)


def _follow(
    client: "SyncPrefectClient", run_id: "UUID", name: str, page: str, timeout: float, on_update: Update | None
) -> "FlowRun":
    from httpx import HTTPError

    deadline, failures, seen = time.monotonic() + timeout, 0, dict[str, str]()
    while True:
        try:
            run, tasks = client.read_flow_run(run_id), _task_states(client, run_id)
            failures = 0
        except HTTPError as error:
            failures += 1
            if failures > PATIENCE:
                raise DeploymentError(f"Prefect's server went away during {name}, see {page} ({error})") from error
            time.sleep(POLL_SECONDS)
            continue
        states = {name: run.state_name or "Scheduled", **tasks}
        for what, state in states.items():
            if on_update and seen.get(what) != state:
                on_update(what, state)
        seen = states
        if run.state and run.state.is_final():
            if run.state.is_completed():
                return run
            raise DeploymentError(f"{name} ended as {run.state.name}: {run.state.message}. See {page}")
        if time.monotonic() > deadline:
            raise DeploymentError(f"{name} is {run.state_name} after {timeout:.0f} s; it runs on, see {page}")
        time.sleep(POLL_SECONDS)


def _task_states(client: "SyncPrefectClient", run_id: "UUID") -> dict[str, str]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    these = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    tasks = client.read_task_runs(flow_run_filter=these, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
    return {task.name: task.state_name or "Pending" for task in tasks}
