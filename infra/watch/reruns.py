"""Looks for flow runs whose worker has died, and runs those again that are tagged for it.

A look, as Prefect's events are lost together with its server: an automation would hear of a crash late or never.
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
SINCE = timedelta(days=1)
"""How old a crash may be whose run is run again."""
TIMEOUT_SECONDS = 30.0


def look_after_runs(now: datetime) -> list[str]:
    """Names of the runs that were begun again: those that crashed, are tagged RERUN, and were not run again before.

    A run that a worker took and never began, as it died before the run could give a sign of life, has crashed, too.
    PREFECT_API_URL must be set. Raises DeploymentLost when no server answers there.
    """
    try:
        with _prefect() as client:
            _report_never_begun(client, now)
            return [run["name"] for run in _crashed(client, now) if _run_again(client, run)]
    except httpx.HTTPError as error:
        raise DeploymentLost(f"Prefect cannot be asked for its runs ({error}): see `duotempo status`") from error


@contextmanager
def _prefect() -> Iterator[httpx.Client]:
    url, login = os.environ["PREFECT_API_URL"], authorization(os.environ)
    with httpx.Client(base_url=url, headers=login, timeout=TIMEOUT_SECONDS) as client:
        yield client


def _ask(client: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post(path, json=body).raise_for_status().json()
    return found


def _report_never_begun(client: httpx.Client, now: datetime) -> None:
    """A worker that is there reports its own, once it has started."""
    long_ago = now - timedelta(seconds=SILENCE_SECONDS)
    for run in _ask(client, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}):
        if _at(run["state"]) < long_ago and not _is_online(client, run["work_pool_name"], run["labels"]):
            LOG.warning("the run %s was taken by a worker that is gone, and never began", run["name"])
            message = f"It has waited {SILENCE_SECONDS} s for its worker, which is gone."
            _set(client, run, {"type": "CRASHED", "name": "Crashed", "message": message})


def _is_online(client: httpx.Client, pool: str | None, labels: dict[str, Any]) -> bool:
    workers = _ask(client, f"/work_pools/{pool}/workers/filter", {}) if pool else []
    return any(one["name"] == labels.get(NAME_LABEL) and one["status"] == "ONLINE" for one in workers)


def _crashed(client: httpx.Client, now: datetime) -> list[dict[str, Any]]:
    wanted = {
        "state": {"type": {"any_": ["CRASHED"]}},
        "tags": {"all_": [RERUN]},
        "end_time": {"after_": (now - SINCE).isoformat()},
    }
    return _ask(client, "/flow_runs/filter", {"flow_runs": wanted})


def _run_again(client: httpx.Client, run: dict[str, Any]) -> bool:
    """Whether it was not before."""
    states = client.get("/flow_run_states/", params={"flow_run_id": run["id"]}).raise_for_status().json()
    if run["run_count"] > 1 or any(state["name"] == "AwaitingRetry" for state in states):
        return False
    LOG.warning("the run %s has crashed: it is run again", run["name"])
    _set(client, run, {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Run again, as its worker had died."})
    return True


def _set(client: httpx.Client, run: dict[str, Any], state: dict[str, Any]) -> None:
    client.post(f"/flow_runs/{run['id']}/set_state", json={"state": state}).raise_for_status()


def _at(state: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(state["timestamp"]).astimezone(UTC)
