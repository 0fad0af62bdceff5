"""`python -m infra.local.worker POOL [QUEUE]`: a Prefect process worker of a pool, once Prefect's server answers.

With a queue it takes this one's runs only, and bears its name.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from typing import Any

import httpx

from infra.local.health import http
from infra.local.sweep import TAG, environment_of, tagged

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.3
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


def main(pool: str, queue: str | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    LOG.info("worker of the pool %s, device: %s", pool, device())
    api = os.environ["PREFECT_API_URL"]
    while not http(f"{api}/health"):
        time.sleep(PAUSE_SECONDS)
    report_lost_runs(api, pool, queue)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--type", "process"]
    of_queue = ["--work-queue", queue] if queue else []
    os.execv(command[0], [*command, "--pool", pool, *of_queue, "--name", queue or pool])


def report_lost_runs(api: str, pool: str, queue: str | None = None) -> None:
    """Tells Prefect which runs ended together with an earlier worker, which could not tell it any more.

    Else they would run forever in Prefect's eyes, and hold the one place that their deployment has.
    """
    alive = {environment_of(process).get("PREFECT__FLOW_RUN_ID") for process in tagged(os.environ[TAG])}
    wanted: dict[str, Any] = {
        "flow_runs": {"state": {"type": {"any_": UNFINISHED}}},
        "work_pools": {"name": {"any_": [pool]}},
    }
    if queue:
        wanted["work_pool_queues"] = {"name": {"any_": [queue]}}
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "Its process ended together with the worker; retry it."}
    with httpx.Client(base_url=api, timeout=30) as client:
        for run in client.post("/flow_runs/filter", json=wanted).raise_for_status().json():
            if run["id"] not in alive:
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
    main(*sys.argv[1:])
