"""Starts a deployment by its name, from any process that knows PREFECT_API_URL and its login, and follows its run."""

import math
import os
import time
from collections.abc import Callable, Iterator
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
PATIENCE = 20
"""Polls in a row that may fail, while the server is started again."""
SETTLING_POLLS = 10
"""Polls after a run's end in which its tasks and their states, which Prefect stores a little later, may come in."""

Update = Callable[[str, str], None]


class DeploymentError(DuotempoError):
    """A deployment is not there, or its run did not complete; the message names the run's page."""


class DeploymentLost(DeploymentError):
    """The run crashed, has not ended in time, or cannot be asked for: another try may help."""


@dataclass(frozen=True)
class Run:
    """A started run: the address of its page, the name of its state, and whether that is a final one."""

    page: str
    state: str
    over: bool


def start_deployment(name: str, parameters: dict[str, Any], key: str | None = None) -> Run:
    """Starts the deployment `FLOW/NAME`, or finds the run that was started with the same `key`.

    Raises DeploymentError when there is no server or no such deployment.
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
    timeout: float = math.inf,
    on_update: Update | None = None,
) -> Any:
    """Runs the deployment `FLOW/NAME` and returns what its flow returned (None when the flow does not persist it).

    Of calls with the same `key` the first one starts the run, and the others follow it; `again`: and retry it when it
    has failed or crashed. run_name: what Prefect's page calls it; so named inside a flow, it stands under that one.
    `on_update` is told each new state of the flow run (as `FLOW/NAME`) and of its tasks: `("interests", "Completed")`.
    Raises DeploymentError when there is no such deployment, when the run ends in any other state than Completed (with
    that state's message); DeploymentLost when there is no server, when the run crashed, and when it has not ended after
    `timeout` seconds; it then runs on.
    """
    with _client() as client:
        started = _start(client, name, parameters, key, run_name)
        if again and started.state and (started.state.is_failed() or started.state.is_crashed()):
            _retry(client, started.id)
        run = _follow(client, started.id, name, timeout, on_update)
    assert run.state is not None
    if not run.state.is_completed():
        error = DeploymentLost if run.state.is_crashed() else DeploymentError
        raise error(f"{name} ended as {run.state.name}: {run.state.message}. See {_page(run.id)}")
    return run.state.result() if run.state.data is not None else None


def worker() -> str:
    """The worker that runs this process' flow, `none` outside of one."""
    return os.environ.get("PREFECT__WORKER_NAME", "none")


def _follow(
    client: "SyncPrefectClient", run_id: UUID, name: str, timeout: float, on_update: Update | None
) -> "FlowRun":
    """The run in its final state; who is told of its tasks waits a moment for them."""
    from httpx import HTTPError

    deadline, failures, settling, seen = time.monotonic() + timeout, 0, 0, dict[str, str]()
    while True:
        try:
            run, tasks = client.read_flow_run(run_id), _tasks(client, run_id) if on_update else []
            failures = 0
        except HTTPError as error:
            failures += 1
            if failures > PATIENCE:
                raise DeploymentLost(f"Prefect's server went away during {name}, see {_page(run_id)}") from error
            time.sleep(POLL_SECONDS)
            continue
        over = run.state is not None and run.state.is_final()
        settling += over
        settled = bool(tasks) and all(task.state and task.state.is_final() for task in tasks)
        ends = over and (settled or on_update is None or settling > SETTLING_POLLS)
        states = {_task_name(task): task.state_name or "Pending" for task in tasks}
        if ends or not over:
            states[name] = run.state_name or "Scheduled"
        for what, state in states.items():
            if on_update and seen.get(what) != state:
                on_update(what, state)
        seen |= states
        if ends:
            return run
        if time.monotonic() > deadline:
            raise DeploymentLost(f"{name} is {run.state_name} after {timeout:.0f} s; it runs on, see {_page(run_id)}")
        time.sleep(POLL_SECONDS)


def _start(
    client: "SyncPrefectClient", name: str, parameters: dict[str, Any], key: str | None, run_name: str | None = None
) -> "FlowRun":
    """The run of that key, which this starts if there is none."""
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
        )
    except ObjectNotFound as error:
        raise DeploymentError(f"Prefect has no deployment {name}: `duotempo up` deploys what is missing") from error
    except HTTPError as error:
        raise DeploymentLost(f"Prefect at {_api()} does not answer ({error}): see `duotempo status`") from error


def _find(client: "SyncPrefectClient", key: str | None) -> "FlowRun | None":
    """The run that was started with that key."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey

    if key is None:
        return None
    same = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
    return next(iter(client.read_flow_runs(flow_run_filter=same, limit=1)), None)


def _parent(client: "SyncPrefectClient", name: str) -> UUID | None:
    """Of the flow run that this process is in: a task that stands for the run of the deployment, as Prefect makes it
    for a subflow. None outside of a flow."""
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
    """Without those that stand for the run of another flow: the task that waits for it tells as much."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    these = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    found = client.read_task_runs(flow_run_filter=these, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
    return [task for task in found if task.state is None or not task.state.state_details.child_flow_run_id]


def _task_name(task: "TaskRun") -> str:
    """Without the ending that Prefect gives to each run of a task."""
    return task.name.removesuffix(f"-{task.dynamic_key[:3]}")
