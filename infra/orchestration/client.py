"""Prefect client: starts a deployment by name and follows its run. Needs PREFECT_API_URL and its login."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from components.core.errors import DuotempoError
from infra.home.logins import PREFECT

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

POLL_SECONDS = 0.5
MAX_FAILED_POLLS = 20
"""Consecutive polls that may fail, while the server restarts."""
TASK_STATE_POLLS = 10
"""Polls after a run's end to wait for its task states, which Prefect stores a little later."""

Update = Callable[[str, str], None]


class DeploymentError(DuotempoError):
    """A deployment does not exist, or its run did not complete; the message names the run's page."""


class DeploymentLost(DeploymentError):
    """The run crashed, timed out, or the server does not answer: a retry may help."""


@dataclass(frozen=True)
class Run:
    """A started run: URL of its page, name of its state, and whether that state is final."""

    page: str
    state: str
    is_final: bool


def start_deployment(name: str, parameters: dict[str, Any], key: str | None = None) -> Run:
    """Starts the deployment `FLOW/NAME`, or returns the run that was started with the same `key`.

    Raises:
        DeploymentError: There is no such deployment, or (DeploymentLost) no server answers.
    """
    with _client() as client:
        run = _start(client, name, parameters, key)
        return Run(_page(run.id), run.state_name or "Scheduled", run.state is not None and run.state.is_final())


def run_deployment(
    name: str,
    parameters: dict[str, Any],
    *,
    key: str | None = None,
    run_name: str | None = None,
    again: bool = False,
    environment: Mapping[str, str] | None = None,
    timeout: float = math.inf,
    on_update: Update | None = None,
) -> Any:
    """Runs the deployment `FLOW/NAME` and waits for its end.

    Args:
        key: Idempotency key: the first call with it starts the run, later ones follow the same run.
        run_name: Name of the run on Prefect's page; inside a flow it also becomes a child of that flow's run.
        again: Whether to retry the run of `key` if it has failed or crashed.
        environment: Variables of this run's process, beside the worker's.
        timeout: Seconds to wait; the run continues after a timeout.
        on_update: Called with each new state of the flow run (as `FLOW/NAME`) and of its tasks, such as
            `("interests", "Completed")`.

    Returns:
        The flow's result; None if the flow does not persist it.

    Raises:
        DeploymentError: There is no such deployment, or the run ended in another state than Completed.
        DeploymentLost: No server answers, the run crashed, or it timed out.
    """
    with _client() as client:
        started = _start(client, name, parameters, key, run_name, environment)
        if again and started.state and (started.state.is_failed() or started.state.is_crashed()):
            _retry(client, started.id)
        run = _follow(client, started.id, name, timeout, on_update)
    assert run.state is not None
    if not run.state.is_completed():
        error = DeploymentLost if run.state.is_crashed() else DeploymentError
        message = (run.state.message or "").rstrip(".")
        raise error(f"{name} ended as {run.state.name}: {message}. See {_page(run.id)}")
    return run.state.result() if run.state.data is not None else None


def worker() -> str:
    """Name of the worker that runs this process's flow; `none` outside of a flow."""
    return os.environ.get("PREFECT__WORKER_NAME", "none")


def _follow(
    client: "SyncPrefectClient", run_id: UUID, name: str, timeout: float, on_update: Update | None
) -> "FlowRun":
    """Polls a run until its final state; with `on_update` also waits a moment for its task states."""
    from httpx import HTTPError

    deadline, failures, settling, seen = time.monotonic() + timeout, 0, 0, dict[str, str]()
    while True:
        try:
            run, tasks = client.read_flow_run(run_id), _tasks(client, run_id) if on_update else []
            failures = 0
        except HTTPError as error:
            failures += 1
            if failures > MAX_FAILED_POLLS:
                raise DeploymentLost(f"Prefect's server went away during {name}, see {_page(run_id)}") from error
            time.sleep(POLL_SECONDS)
            continue
        is_final = run.state is not None and run.state.is_final()
        settling += is_final
        settled = bool(tasks) and all(task.state and task.state.is_final() for task in tasks)
        ends = is_final and (settled or on_update is None or settling > TASK_STATE_POLLS)
        states = {_task_name(task): task.state_name or "Pending" for task in tasks}
        if ends or not is_final:
            states[name] = run.state_name or "Scheduled"
        for what, state in states.items():
            if on_update and seen.get(what) != state:
                on_update(what, state)
        seen |= states
        if ends:
            return run
        if time.monotonic() > deadline:
            raise DeploymentLost(
                f"{name} is {run.state_name} after {timeout:.0f} s; it keeps running, see {_page(run_id)}"
            )
        time.sleep(POLL_SECONDS)


def _start(
    client: "SyncPrefectClient",
    name: str,
    parameters: dict[str, Any],
    key: str | None,
    run_name: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> "FlowRun":
    """Returns the run of that key; starts it if there is none."""
    from httpx import HTTPError
    from prefect.exceptions import ObjectNotFound

    try:
        if run_name and (started := _find(client, key)):
            return started
        deployment = client.read_deployment_by_name(name)
        return client.create_flow_run_from_deployment(
            deployment.id,
            parameters=parameters,
            idempotency_key=key,
            name=run_name,
            parent_task_run_id=_parent(client, name) if run_name else None,
            job_variables={"env": dict(environment)} if environment else None,
        )
    except ObjectNotFound as error:
        raise DeploymentError(f"Prefect has no deployment {name}: `duotempo up` deploys what is missing") from error
    except HTTPError as error:
        raise DeploymentLost(f"Prefect at {_api()} does not answer ({error}): see `duotempo status`") from error


def _find(client: "SyncPrefectClient", key: str | None) -> "FlowRun | None":
    """Returns the run that was started with that key, or None."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey

    if key is None:
        return None
    same = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
    return next(iter(client.read_flow_runs(flow_run_filter=same, limit=1)), None)


def _parent(client: "SyncPrefectClient", name: str) -> UUID | None:
    """Creates a task run in the current flow run, as the parent of the deployment's run, as Prefect does for subflows.

    Returns its id; None outside of a flow.
    """
    from prefect import Task
    from prefect.runtime import flow_run

    if flow_run.id is None:
        return None
    stands_for = Task(lambda: None, name=name)
    return client.create_task_run(stands_for, UUID(flow_run.id), dynamic_key=uuid4().hex).id


def _retry(client: "SyncPrefectClient", run_id: UUID) -> None:
    from prefect.states import AwaitingRetry

    client.set_flow_run_state(run_id, AwaitingRetry())


@contextmanager
def _client() -> Iterator["SyncPrefectClient"]:
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(api=_api(), auth_string=os.environ.get(PREFECT)) as client:
        yield client


def _api() -> str:
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    raise DeploymentError("PREFECT_API_URL is not set: `duotempo up` starts Prefect's server")


def _page(run_id: UUID) -> str:
    return f"{_api().removesuffix('/api')}/runs/flow-run/{run_id}"


def _tasks(client: "SyncPrefectClient", run_id: UUID) -> list["TaskRun"]:
    """Reads the task runs of a flow run, without those that represent child flow runs."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    these = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    task_runs = client.read_task_runs(flow_run_filter=these, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
    return [task for task in task_runs if task.state is None or not task.state.state_details.child_flow_run_id]


def _task_name(task: "TaskRun") -> str:
    """Name of a task run without the suffix that Prefect appends."""
    return task.name.removesuffix(f"-{task.dynamic_key[:3]}")
