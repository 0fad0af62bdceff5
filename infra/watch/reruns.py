"""Finds flow runs whose worker has died, and reruns those that are tagged for it.

This polls, because Prefect's events are lost with its server: an automation might miss a crash.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from infra.home.logins import authorization
from infra.orchestration.client import DeploymentLost
from infra.orchestration.deployments import RERUN, SILENCE_SECONDS
from infra.orchestration.worker import NAME_LABEL

LOG = logging.getLogger(__name__)
MAX_CRASH_AGE = timedelta(days=1)
"""Maximum age of a crash whose run is rerun."""
TIMEOUT_SECONDS = 30.0


def rerun_crashed_runs(now: datetime) -> list[str]:
    """Reruns crashed runs that are tagged RERUN and were not rerun before. PREFECT_API_URL must be set.

    A run whose worker took it and died before starting it counts as crashed, too.

    Returns:
        Names of the rerun runs.

    Raises:
        DeploymentLost: No Prefect server answers.
    """
    try:
        with _prefect() as client:
            _report_never_started(client, now)
            return [run["name"] for run in _crashed(client, now) if _run_again(client, run)]
    except httpx.HTTPError as error:
        raise DeploymentLost(f"Prefect's runs cannot be queried ({error}): see `duotempo status`") from error


@contextmanager
def _prefect() -> Iterator[httpx.Client]:
    url, login = os.environ["PREFECT_API_URL"], authorization(os.environ)
    with httpx.Client(base_url=url, headers=login, timeout=TIMEOUT_SECONDS) as client:
        yield client


def _query(client: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post(path, json=body).raise_for_status().json()
    return found


def _report_never_started(client: httpx.Client, now: datetime) -> None:
    """Sets pending runs whose worker is gone to Crashed; a running worker reports its own runs at its start."""
    deadline = now - timedelta(seconds=SILENCE_SECONDS)
    for run in _query(client, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}):
        if _timestamp(run["state"]) < deadline and not _is_online(client, run["work_pool_name"], run["labels"]):
            LOG.warning("the run %s was taken by a worker that is gone, and never started", run["name"])
            message = f"It has waited {SILENCE_SECONDS} s for its worker, which is gone."
            _set(client, run, {"type": "CRASHED", "name": "Crashed", "message": message})


def _is_online(client: httpx.Client, pool: str | None, labels: dict[str, Any]) -> bool:
    workers = _query(client, f"/work_pools/{pool}/workers/filter", {}) if pool else []
    return any(one["name"] == labels.get(NAME_LABEL) and one["status"] == "ONLINE" for one in workers)


def _crashed(client: httpx.Client, now: datetime) -> list[dict[str, Any]]:
    wanted = {
        "state": {"type": {"any_": ["CRASHED"]}},
        "tags": {"all_": [RERUN]},
        "end_time": {"after_": (now - MAX_CRASH_AGE).isoformat()},
    }
    return _query(client, "/flow_runs/filter", {"flow_runs": wanted})


def _run_again(client: httpx.Client, run: dict[str, Any]) -> bool:
    """Reruns a crashed run unless it was rerun before; returns whether it did."""
    states = client.get("/flow_run_states/", params={"flow_run_id": run["id"]}).raise_for_status().json()
    if run["run_count"] > 1 or any(state["name"] == "AwaitingRetry" for state in states):
        return False
    LOG.warning("the run %s has crashed: it is rerun", run["name"])
    _set(client, run, {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Run again, as its worker had died."})
    return True


def _set(client: httpx.Client, run: dict[str, Any], state: dict[str, Any]) -> None:
    client.post(f"/flow_runs/{run['id']}/set_state", json={"state": state}).raise_for_status()


def _timestamp(state: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(state["timestamp"]).astimezone(UTC)
