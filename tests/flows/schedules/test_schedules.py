"""Schedules, their concurrency, and errors that are not retried."""

import os
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DuotempoError
from flows.batch import batch
from flows.embed import TextsError, embed
from infra.orchestration.client import run_deployment
from infra.orchestration.deployments import Deployments
from infra.processes.programs import PROJECT
from tests.support.schedules import RunningPlatform

pytestmark = pytest.mark.timeout(300)
CRONS = {
    "retrain": "0 3 * * *", "batch": "0 5 * * *", "retention": "30 6 * * *", "monitor": "0 * * * *",
    "erase": "*/15 * * * *", "ingest": "0 2 * * *",
}  # fmt: skip


def schedules(running: RunningPlatform) -> dict[str, dict[str, Any]]:
    """Returns the single schedule of each scheduled flow."""
    flows = {flow["id"]: flow["name"] for flow in running.prefect.ask("/flows/filter", {})}
    deployments = running.prefect.ask("/deployments/filter", {})
    return {flows[one["flow_id"]]: one["schedules"][0] for one in deployments if one["schedules"]}


@pytest.mark.long
def test_schedules_setting_activates_every_schedule(running: RunningPlatform) -> None:
    assert not any(one["active"] for one in schedules(running).values())
    deployments = Deployments(PROJECT, schedules=True, sources=True, seconds=600)
    assert deployments.fingerprint() != Deployments(PROJECT, schedules=True, seconds=600).fingerprint()
    assert deployments.fingerprint() != Deployments(PROJECT, schedules=False, seconds=600).fingerprint()
    deployments.deploy(dict(os.environ))
    try:
        active = schedules(running)
        assert {flow: one["schedule"]["cron"] for flow, one in active.items()} == CRONS
        assert all(one["active"] and one["schedule"]["timezone"] == "UTC" for one in active.values())
    finally:
        Deployments(PROJECT, schedules=False, seconds=600).deploy(dict(os.environ))
    assert not any(one["active"] for one in schedules(running).values())


def test_scheduled_flows_run_one_at_a_time(running: RunningPlatform) -> None:
    flows = {flow["id"]: flow["name"] for flow in running.prefect.ask("/flows/filter", {})}
    limits = {
        flows[one["flow_id"]]: (one["global_concurrency_limit"]["limit"], one["concurrency_options"])
        for one in running.prefect.ask("/deployments/filter", {})
        if one["schedules"]
    }
    collisions = {flow: options["collision_strategy"] for flow, (limit, options) in limits.items() if limit == 1}
    enqueue, cancel_new = "ENQUEUE", "CANCEL_NEW"
    assert collisions == {
        "retrain": enqueue,
        "batch": enqueue,
        "retention": cancel_new,
        "monitor": cancel_new,
        "erase": enqueue,
        "ingest": enqueue,
    }


def test_daily_batch_does_nothing_without_a_champion(running: RunningPlatform) -> None:
    assert run_deployment("batch/daily", {}, timeout=200) is None
    (run,) = running.prefect.runs("batch")
    assert "no champion yet" in run["state"]["message"]
    with pytest.raises(DuotempoError, match="duotempo promote"):
        batch("somewhere.parquet")


def test_input_errors_are_not_retried(running: RunningPlatform, tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"missing\.parquet"):
        embed(str(tmp_path / "missing.parquet"), str(tmp_path / "vectors.parquet"))
    run = running.prefect.runs("embed")[0]
    assert (run["state_type"], run["run_count"]) == ("FAILED", 1)
    assert running.prefect.tasks(run["id"])["vectors"]["run_count"] == 1
