"""`python -m infra.orchestration.worker POOL [QUEUE]`: waits for Prefect's server, then execs a worker of a pool.

It runs the same way on the platform's machine, under supervisord, and on any other (`duotempo worker POOL`). With a
queue it takes only that queue's runs.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import httpx
import psutil

from components.core.logs import configure_logging
from components.settings import Settings
from infra.home import logins
from infra.home.environment import TELEMETRY_OFF
from infra.home.errors import PlatformError
from infra.home.health import http
from infra.home.home import Home
from infra.orchestration.deployments import HEARTBEAT_SECONDS
from infra.processes.orphans import FLOW_RUN, environment_of
from infra.processes.programs import PROJECT

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.3
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")
NAME_LABEL = "prefect.worker.name"
"""Label in which Prefect stores the worker that took a run."""


def serve(pool: str, name: str = "", queue: str = "") -> NoReturn:
    """Execs a worker of a pool at PREFECT_API_URL, or of one of its queues.

    Args:
        name: Distinguishes the worker from others on this machine; by default named after queue or pool.

    Raises:
        PlatformError: Prefect's server rejects the login.
    """
    configure_logging(logging.StreamHandler())
    full = f"{name or usual_name(queue or pool)} ({device()})"
    LOG.info("worker %s of the pool %s", full, pool)
    os.environ.update(environment(Settings()) | dict(os.environ))
    os.umask(0o077)  # runs write personal data
    programs = str(Path(sys.executable).parent)  # runs use the worker's Python
    os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    api = os.environ["PREFECT_API_URL"]
    while not http(f"{api}/health"):
        time.sleep(PAUSE_SECONDS)
    report_lost_runs(api, full)
    command = [sys.executable, "-m", "infra.orchestration.runner", pool, full, *([queue] if queue else [])]
    os.execv(command[0], command)


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a worker and its flows on another machine, without the servers' addresses.

    The logins are read from the home, if that is shared.
    """
    home = Home(settings.home)
    return {
        **TELEMETRY_OFF,
        **logins.variables(home, settings),
        "DUOTEMPO_HOME": str(home.path),
        "DUOTEMPO_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    }


def usual_name(place: str) -> str:
    """Default name of the worker of a pool or queue on this machine, without the device."""
    return f"{place}@{socket.gethostname()}"


def report_lost_runs(api: str, worker: str) -> None:
    """Reports runs of an earlier process of this worker that died with it as crashed.

    Otherwise the server would notice later, by the missing heartbeat. Runs of other workers are ignored.
    Raises PlatformError if the server rejects the login.
    """
    alive = {environment_of(process).get(FLOW_RUN) for process in psutil.process_iter()}
    wanted = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}}
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "Its process ended together with the worker."}
    with httpx.Client(base_url=api, headers=logins.authorization(os.environ), timeout=30) as client:
        answer = client.post("/flow_runs/filter", json=wanted)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise PlatformError(
                f"Prefect at {api} rejects this worker's login: set {logins.PREFECT} to what "
                "`duotempo secrets show prefect` prints on the platform's machine"
            )
        for run in answer.raise_for_status().json():
            if run["labels"].get(NAME_LABEL) == worker and run["id"] not in alive:
                LOG.warning("the run %s has lost its process", run["name"])
                client.post(f"/flow_runs/{run['id']}/set_state", json={"state": crashed}).raise_for_status()


def device() -> str:
    """Names of the GPUs by `nvidia-smi`, or `cpu`; without torch, which takes seconds and memory to import."""
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listed.returncode == 0 and listed.stdout.strip():
            return "; ".join(line.split(" (UUID")[0] for line in listed.stdout.splitlines())
    return "cpu"


if __name__ == "__main__":
    serve(sys.argv[1], queue="".join(sys.argv[2:]))
