"""Deployments run by name on the platform's workers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client, runtime
from prefect.states import Crashed, Pending

from infra.orchestration.client import DeploymentError, run_deployment, start_deployment
from infra.orchestration.deployments import RERUN, SILENCE_SECONDS
from infra.watch.reruns import rerun_crashed_runs
from tests.support.platforms import SharedPlatform
from tests.support.waiting import eventually


@pytest.fixture
def _inside_the_platform(started: SharedPlatform, project: Path) -> Iterator[None]:
    with started.shell.inside():
        yield


@pytest.mark.usefixtures("_inside_the_platform")
def test_run_deployment_returns_the_flows_result(started: SharedPlatform, project: Path) -> None:
    updates: list[tuple[str, str]] = []
    result = run_deployment(
        "hello/gpu",
        {},
        environment={"GREETING": "good day"},
        timeout=100,
        on_update=lambda *state: updates.append(state),
    )
    assert result == {"folder": str(project), "home": str(started.platform.home.path), "greeting": "good day"}
    assert ("look", "Completed") in updates
    assert updates[-1] == ("hello/gpu", "Completed")
    assert len(set(updates)) == len(updates)
    with get_client(sync_client=True) as client:
        assert client.read_deployment_by_name("hello/gpu").work_queue_name == "embeddings"


@pytest.mark.usefixtures("_inside_the_platform")
def test_start_deployment_returns_at_once(started: SharedPlatform) -> None:
    page = start_deployment("hello/local", {}).page
    assert page.startswith(f"{started.platform.addresses.prefect_url}/runs/flow-run/")


@pytest.mark.usefixtures("_inside_the_platform")
def test_failed_run_raises_message_and_page() -> None:
    with pytest.raises(DeploymentError, match=r"this went wrong.*/runs/flow-run/"):
        run_deployment("hello/local", {"fail": True}, timeout=100)


@pytest.mark.usefixtures("_inside_the_platform")
def test_failed_run_of_same_key_is_followed_or_retried(started: SharedPlatform) -> None:
    parameters = {"fail": True}
    for again, count in ((False, 1), (False, 1), (True, 2)):
        with pytest.raises(DeploymentError, match="this went wrong"):
            run_deployment("hello/local", parameters, key="once", again=again, timeout=100)
        run_id = start_deployment("hello/local", parameters, key="once").page.rpartition("/")[2]
        with get_client(sync_client=True) as client:
            assert client.read_flow_run(UUID(run_id)).run_count == count


@pytest.mark.usefixtures("_inside_the_platform")
def test_run_started_inside_a_flow_is_its_child(started: SharedPlatform) -> None:
    @flow(name="outer")
    def outer() -> tuple[str, Any]:
        run_deployment("hello/local", {}, key="inner", run_name="hello for outer", timeout=100)
        return str(runtime.flow_run.id), run_deployment("hello/local", {}, key="inner", run_name="again", timeout=100)

    run_id, result = outer()
    assert result["home"] == str(started.platform.home.path)
    prefect = started.shell.prefect
    (inner,) = prefect.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}})
    assert inner["name"] == "hello for outer"
    (task,) = prefect.tasks(run_id).values()
    assert (task["id"], task["state_type"]) == (inner["parent_task_run_id"], "COMPLETED")


@pytest.mark.usefixtures("_inside_the_platform")
def test_run_never_started_by_its_worker_is_rerun_once(started: SharedPlatform) -> None:
    prefect, now = started.shell.prefect, datetime.now(UTC)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("hello/local")
        run = client.create_flow_run_from_deployment(deployment.id, state=Pending(), tags=[RERUN])
        assert run.name not in rerun_crashed_runs(now), "it may still start"
        assert run.name in rerun_crashed_runs(now + timedelta(seconds=2 * SILENCE_SECONDS))
        eventually(lambda: prefect.run(str(run.id))["state_type"] == "COMPLETED")
        assert prefect.states(str(run.id))[:3] == ["Pending", "Crashed", "AwaitingRetry"]
        client.set_flow_run_state(run.id, Crashed(), force=True)
        assert run.name not in rerun_crashed_runs(now)
        assert prefect.run(str(run.id))["state_type"] == "CRASHED"


@pytest.mark.usefixtures("_inside_the_platform")
def test_timeout_leaves_the_run_running() -> None:
    with pytest.raises(DeploymentError, match=r"it keeps running, see .*/runs/flow-run/"):
        run_deployment("hello/local", {}, timeout=0)


@pytest.mark.usefixtures("_inside_the_platform")
def test_unknown_deployment_is_named() -> None:
    with pytest.raises(DeploymentError, match="no deployment hello/nobody"):
        run_deployment("hello/nobody", {}, timeout=100)


def test_missing_server_error_suggests_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(DeploymentError, match="duotempo up"):
        run_deployment("hello/local", {}, timeout=1)


@pytest.mark.usefixtures("_inside_the_platform")
def test_deployments_of_earlier_releases_are_deleted(started: SharedPlatform, project: Path) -> None:
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("hello")
        client.create_deployment(flow_id, "local-of-before", tags=["duotempo"])
        client.create_deployment(flow_id, "somebody-elses")
        started.deploy(project)
        remaining = {one.name for one in client.read_deployments() if one.flow_id == flow_id}
    assert remaining == {"local", "gpu", "somebody-elses"}
