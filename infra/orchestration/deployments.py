"""Registers the deployments of prefect.yaml and the automations with Prefect's server when they are new or changed."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.home.errors import PlatformError
from infra.home.health import http
from infra.home.logins import authorization
from infra.pools import PROCESS

HEARTBEAT_SECONDS = 30
"""Heartbeat interval of flow runs; Prefect's minimum."""
SILENCE_SECONDS = 120
"""Time without a heartbeat after which a run counts as crashed."""
RERUN = "rerun"
"""Tag of deployments whose runs are rerun, once, after a crash."""
OBSOLETE_AUTOMATIONS = ("duotempo: a crashed run is run again",)
"""Automations of earlier releases, to be deleted; replaced by infra/watch/reruns.py."""
END_EVENTS = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]
WAIT_EVENTS = [f"prefect.flow-run.{state}" for state in ("AwaitingRetry", "Scheduled", "Paused", "Suspended")]
ANY_RUN = {"prefect.resource.id": "prefect.flow-run.*"}
AUTOMATIONS: list[dict[str, Any]] = [
    {
        "name": "duotempo: a silent run has crashed",
        "description": f"No heartbeat for {SILENCE_SECONDS} s: its worker, or the worker's machine, is gone.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": ANY_RUN,
            "for_each": ["prefect.resource.id"],
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *END_EVENTS, *WAIT_EVENTS],
            "threshold": 1,
            "within": SILENCE_SECONDS,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": f"No heartbeat for {SILENCE_SECONDS} s: its worker is gone.",
            }
        ],
    },
]
TAG = "duotempo"
"""Tag of all deployments of prefect.yaml."""


def make_automations(environment: Mapping[str, str], seconds: float) -> None:
    """Creates or updates the automations on Prefect's server, and deletes those of earlier releases.

    Args:
        environment: The environment of Prefect's clients.
        seconds: Timeout of each request.

    Raises:
        httpx.HTTPError: The server does not answer or rejects them.
    """
    url, headers = environment["PREFECT_API_URL"], authorization(environment)
    with httpx.Client(base_url=url, headers=headers, timeout=seconds) as client:
        wanted = {"automations": {"name": {"any_": [*OBSOLETE_AUTOMATIONS, *(one["name"] for one in AUTOMATIONS)]}}}
        listed = client.post("/automations/filter", json=wanted).raise_for_status().json()
        existing = {one["name"]: one["id"] for one in listed}
        for name in existing.keys() & OBSOLETE_AUTOMATIONS:
            client.delete(f"/automations/{existing[name]}").raise_for_status()
        for one in AUTOMATIONS:
            if one["name"] in existing:
                client.put(f"/automations/{existing[one['name']]}", json=one).raise_for_status()
            else:
                client.post("/automations/", json=one).raise_for_status()


class Deployments:
    """The deployments of a project.

    Args:
        project: Folder with prefect.yaml.
        schedules: Whether their schedules are active...
        sources: ...and that of ingest, which needs sources.
        seconds: Time limit for deploying.

    Raises:
        PlatformError: prefect.yaml cannot be read, or names missing flows.
    """

    def __init__(self, project: Path, *, schedules: bool = True, sources: bool = False, seconds: float) -> None:
        self._project = project
        self._variables = {
            "DUOTEMPO_PROJECT": str(project),
            "DUOTEMPO_SCHEDULES": str(schedules).lower(),
            "DUOTEMPO_INGEST_SCHEDULE": str(schedules and sources).lower(),
        }
        self._seconds = seconds
        file = project / "prefect.yaml"
        try:
            self._listed: list[dict[str, Any]] = yaml.safe_load(file.read_text())["deployments"]
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise PlatformError(f"{file} names no deployments ({error}): run from the project's folder") from error
        self._flows = [project / str(one["entrypoint"]).split(":")[0] for one in self._listed]
        missing = [str(flow) for flow in self._flows if not flow.is_file()]
        if missing:
            raise PlatformError(f"{file} names flows that are not there: {', '.join(missing)}")

    def fingerprint(self) -> str:
        """Hash of all inputs: the project's path, prefect.yaml, the flows' files, the schedules and the automations."""
        digest = hashlib.sha256(repr(self._variables).encode())
        for file in (self._project / "prefect.yaml", *self._flows, Path(__file__)):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def are_registered(self, environment: Mapping[str, str]) -> bool:
        """Whether Prefect's server has all deployments. A flow must have the name of its function."""
        names = (f"{str(one['entrypoint']).split(':')[1]}/{one['name']}" for one in self._listed)
        api, headers = environment["PREFECT_API_URL"], authorization(environment)
        return all(http(f"{api}/deployments/name/{name}", headers) for name in names)

    def deploy(self, environment: dict[str, str]) -> None:
        """Creates missing pools, the deployments and the automations. Raises PlatformError with Prefect's message."""
        with _prefect_errors("the work pools cannot be made in Prefect"):
            self._make_pools(environment)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        try:
            done = subprocess.run(
                command, env={**environment, **self._variables}, cwd=self._project,
                capture_output=True, text=True, timeout=self._seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PlatformError(
                f"`prefect deploy --all` did not end within {self._seconds:.0f} s: "
                "if the machine is slow, raise DUOTEMPO_PLATFORM__START_TIMEOUT_SECONDS"
            ) from error
        if done.returncode:
            output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
            raise PlatformError(f"Prefect rejects the deployments of {self._project / 'prefect.yaml'}:\n{output}")
        with _prefect_errors("old deployments cannot be deleted in Prefect"):
            self._remove_old(environment)
        with _prefect_errors("Prefect does not take the automations"):
            make_automations(environment, self._seconds)

    def _remove_old(self, environment: Mapping[str, str]) -> None:
        """Deletes deployments of earlier releases with other names, which would run beside the new ones."""
        url, headers = environment["PREFECT_API_URL"], authorization(environment)
        listed = {(str(one["entrypoint"]).split(":")[1], one["name"]) for one in self._listed}
        flows = {flow for flow, _ in listed}
        with httpx.Client(base_url=url, headers=headers, timeout=self._seconds) as client:
            ours = {"deployments": {"tags": {"all_": [TAG]}}}
            for one in client.post("/deployments/filter", json=ours).raise_for_status().json():
                flow = client.get(f"/flows/{one['flow_id']}").raise_for_status().json()["name"]
                if flow in flows and (flow, one["name"]) not in listed:
                    client.delete(f"/deployments/{one['id']}").raise_for_status()

    def _make_pools(self, environment: Mapping[str, str]) -> None:
        """Creates missing work pools as process pools; existing ones stay unchanged."""
        url, headers = environment["PREFECT_API_URL"], authorization(environment)
        with httpx.Client(base_url=url, headers=headers, timeout=self._seconds) as client:
            for pool in sorted({one["work_pool"]["name"] for one in self._listed}):
                if client.get(f"/work_pools/{pool}").status_code == httpx.codes.NOT_FOUND:
                    template = json.loads(PROCESS.read_text(encoding="utf-8"))
                    wanted = {"name": pool, "type": "process", "base_job_template": template}
                    made = client.post("/work_pools/", json=wanted)
                    if made.status_code not in (httpx.codes.CREATED, httpx.codes.CONFLICT):
                        raise PlatformError(f"Prefect cannot create the work pool {pool}: {made.text}")


@contextmanager
def _prefect_errors(what: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise PlatformError(
            f"{what} ({error}): see the log of `prefect`; if the machine is slow, raise "
            "DUOTEMPO_PLATFORM__START_TIMEOUT_SECONDS"
        ) from error
