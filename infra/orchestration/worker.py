"""`python -m infra.orchestration.worker POOL [QUEUE]`: a process worker of a pool, once Prefect's server answers.

The same on the platform's machine, where supervisord keeps it, and on any other (`duotempo worker POOL`). With a queue
it takes this one's runs only.
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

from components.core.logs import log_to
from components.settings import Settings
from infra.home import logins
from infra.home.environment import QUIET
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
"""Where Prefect keeps which worker took a run."""


def serve(pool: str, name: str = "", queue: str = "") -> NoReturn:
    """Turns this process into a worker of the pool at PREFECT_API_URL, or of one queue of it; `name` tells it from
    others of this machine. Raises PlatformError when Prefect's server does not take its login."""
    log_to(logging.StreamHandler())
    full = f"{name or usual_name(queue or pool)} ({device()})"
    LOG.info("worker %s of the pool %s", full, pool)
    os.environ.update(environment(Settings()) | dict(os.environ))
    os.umask(0o077)  # what runs write is about people
    programs = str(Path(sys.executable).parent)  # `python` of a run is then the worker's own
    os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    api = os.environ["PREFECT_API_URL"]
    while not http(f"{api}/health"):
        time.sleep(PAUSE_SECONDS)
    report_lost_runs(api, full)
    command = [sys.executable, "-m", "infra.orchestration.runner", pool, full, *([queue] if queue else [])]
    os.execv(command[0], command)


def environment(settings: Settings) -> dict[str, str]:
    """What a worker and its flows need and find already on the platform's machine, but for the servers' addresses.

    The logins are those of the home, where it is shared.
    """
    home = Home(settings.home)
    return {
        **QUIET,
        **logins.variables(home, settings),
        "DUOTEMPO_HOME": str(home.path),
        "DUOTEMPO_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    }


def usual_name(place: str) -> str:
    """Of the worker of a pool or a queue on this machine, before the device."""
    return f"{place}@{socket.gethostname()}"


def report_lost_runs(api: str, worker: str) -> None:
    """Tells Prefect which runs of this worker ended together with its process, which could not tell it any more.

    The server would find out by itself, later: they send no sign of life. Runs of other workers are left alone.
    Raises PlatformError when the server does not take the login.
    """
    alive = {environment_of(process).get(FLOW_RUN) for process in psutil.process_iter()}
    wanted = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}}
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "Its process ended together with the worker."}
    with httpx.Client(base_url=api, headers=logins.authorization(os.environ), timeout=30) as client:
        answer = client.post("/flow_runs/filter", json=wanted)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise PlatformError(
                f"Prefect at {api} does not take this worker's login: set {logins.PREFECT} to what "
                "`duotempo secrets show prefect` prints on the platform's machine"
            )
        for run in answer.raise_for_status().json():
            if run["labels"].get(NAME_LABEL) == worker and run["id"] not in alive:
                LOG.warning("the run %s has lost its process", run["name"])
                client.post(f"/flow_runs/{run['id']}/set_state", json={"state": crashed}).raise_for_status()


def device() -> str:
    """The GPUs that the driver lists, or `cpu`; asked without torch, which would take seconds and memory."""
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listed.returncode == 0 and listed.stdout.strip():
            return "; ".join(line.split(" (UUID")[0] for line in listed.stdout.splitlines())
    return "cpu"


if __name__ == "__main__":
    serve(sys.argv[1], queue="".join(sys.argv[2:]))
