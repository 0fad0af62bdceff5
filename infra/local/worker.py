"""`python -m infra.local.worker POOL`: a Prefect process worker of a pool, once Prefect's server answers."""

import logging
import os
import shutil
import subprocess
import sys
import time

from infra.local.health import http

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.3


def main(pool: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    LOG.info("worker of the pool %s, device: %s", pool, device())
    while not http(f"{os.environ['PREFECT_API_URL']}/health"):
        time.sleep(PAUSE_SECONDS)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--type", "process"]
    os.execv(command[0], [*command, "--pool", pool, "--name", pool])


def device() -> str:
    """The GPUs that the driver lists, or `cpu`; asked without torch, which would take seconds and memory."""
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listed.returncode == 0 and listed.stdout.strip():
            return "; ".join(line.split(" (UUID")[0] for line in listed.stdout.splitlines())
    return "cpu"


if __name__ == "__main__":
    main(sys.argv[1])
