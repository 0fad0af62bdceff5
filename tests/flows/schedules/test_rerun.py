"""A repeated retraining reuses completed steps; without any change, it registers nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlflow import MlflowClient

from components import registry
from flows.fuse import device as torch_device
from flows.monitor import monitor
from flows.retrain import retrain
from infra.orchestration.client import run_deployment
from tests.support.schedules import EARLY_RETRAIN_EVENTS, ITEMS, VISITS, RunningPlatform, fill
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)
STEPS = ("validate snapshot", "interests", "embed", "validate features", "fuse", "evaluate")


@pytest.fixture(scope="module")
def first(running: RunningPlatform) -> dict[str, Any]:
    """Result of the first retraining, run by the workers."""
    fill(running)
    return dict(run_deployment("retrain/nightly", {}, timeout=400))


def states(running: RunningPlatform) -> dict[str, str]:
    """Returns the task states of the latest retraining."""
    run_id = running.prefect.runs("retrain")[0]["id"]
    return {name: task["state_name"] for name, task in running.prefect.tasks(run_id).items()}


def numbers(running: RunningPlatform) -> list[str]:
    return [one.version for one in registry.versions(running.platform.addresses.mlflow_url)]


def test_training_runs_on_the_gpu_pool_and_reports_its_device(running: RunningPlatform, first: dict[str, Any]) -> None:
    for flow, key in (("embed", "embeddings"), ("fuse", "fusion")):
        (run,) = [one for one in running.prefect.runs(flow) if one["state_type"] == "COMPLETED"]
        assert run["work_pool_name"] == "gpu"
        worker = run["labels"]["prefect.worker.name"]
        assert worker.startswith("gpu@")
        (row,) = json.loads(running.prefect.artifacts(run["id"])[key]["data"])
        assert row["worker"] == worker
        assert row["device"] in ("cpu", "cuda", torch_device())


def test_child_runs_are_named_after_and_linked_to_their_retraining(
    running: RunningPlatform, first: dict[str, Any]
) -> None:
    (retraining,) = running.prefect.runs("retrain")
    due = datetime.fromisoformat(retraining["expected_start_time"])
    assert retraining["name"] == f"retrain {due:%Y-%m-%d %H:%M}"
    for name in ("embed", "fuse"):
        (run,) = running.prefect.runs(name)
        assert run["name"] == f"{name} for {retraining['name']}"
        tasks = running.prefect.ask("/task_runs/filter", {"task_runs": {"id": {"any_": [run["parent_task_run_id"]]}}})
        assert [task["flow_run_id"] for task in tasks] == [retraining["id"]]


def test_artifacts_are_tables_and_images(running: RunningPlatform, first: dict[str, Any]) -> None:
    (retraining,) = running.prefect.runs("retrain")
    runs = [retraining, *running.prefect.runs("embed"), *running.prefect.runs("fuse")]
    artifacts = [one for run in runs for key, one in running.prefect.artifacts(run["id"]).items() if key]
    home = str(running.platform.home.path)
    assert not [one["key"] for one in artifacts if home in str(one["data"]) or "{'" in str(one["data"])]
    by_key = {one["key"]: one["data"] for one in artifacts}
    assert "| suite | rows |" in by_key["validation-snapshot"]
    assert "](data:image/png;base64," in by_key["evaluation"] and ".png)" not in by_key["evaluation"]
    for progress in ("embedding", "fusion-twin", "fusion-model"):
        assert float(by_key[progress]) == 100.0


def test_unchanged_retraining_returns_the_existing_version(running: RunningPlatform, first: dict[str, Any]) -> None:
    again = retrain()
    assert (first["unchanged"], again["unchanged"]) == (False, True)
    assert again == {**first, "unchanged": True}
    assert numbers(running) == ["1"]
    assert set(states(running)) == {"snapshot", "earlier"}


def test_rerun_repeats_only_missing_steps(running: RunningPlatform, first: dict[str, Any]) -> None:
    """The version was deleted and must be registered again; all earlier steps are cached."""
    MlflowClient(running.platform.addresses.mlflow_url).delete_model_version(registry.NAME, "1")
    again = retrain()
    assert again["version"] == "2"
    assert again["metrics"] == first["metrics"]
    assert numbers(running) == ["2"]
    task_states = states(running)
    assert [name for name in STEPS if task_states[name] != "Cached"] == []
    assert task_states["register"] == "Completed"


@pytest.mark.long
def test_many_new_events_start_an_early_retraining(running: RunningPlatform, first: dict[str, Any]) -> None:
    versions_before, before = numbers(running), len(running.prefect.runs("retrain"))
    assert monitor()["retraining"] is None
    new = fill(running, until=datetime.now(UTC), step=timedelta(seconds=1), after=ITEMS - VISITS)
    assert new >= EARLY_RETRAIN_EVENTS
    task_states = run_deployment("monitor/hourly", {}, timeout=300)
    assert f"{new} events that the newest version does not know" in task_states["decision"]
    run_id = task_states["retraining"].rpartition("/")[2]
    eventually(lambda: running.prefect.run(run_id)["state_type"] in ("COMPLETED", "FAILED"), 400)
    assert numbers(running) == [str(int(versions_before[0]) + 1), *versions_before]
    assert len(running.prefect.runs("retrain")) == before + 1
    assert monitor()["retraining"] is None
