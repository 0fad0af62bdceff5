"""`python -m infra.local.sentinel HOME`: watches the supervisor that runs it, which in turn restarts the sentinel.

When the supervisor dies it sweeps what that left behind and starts it again; a program that the supervisor has given up
is tried again from time to time, so that a disk that was full for a minute needs no hand.
"""

import logging
import os
import sys
import time
from pathlib import Path

from infra.local.home import Home
from infra.local.supervisor import Supervisor

LOG = logging.getLogger(__name__)
WATCH_SECONDS = 0.5
RETRY_SECONDS = 30.0


def main(home: Home) -> None:
    log = logging.FileHandler(home.log("sentinel"))  # the pipe to the supervisor breaks with it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[log])
    supervisor = Supervisor(home)
    parent = int(home.pid_file.read_text())
    LOG.info("watching the supervisor, process %d", parent)
    retry_at = time.monotonic() + RETRY_SECONDS
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
        if time.monotonic() > retry_at:
            with home.locked("start"):
                supervisor.start_stopped()
            retry_at = time.monotonic() + RETRY_SECONDS
    LOG.warning("the supervisor is gone: starting it again")
    with home.locked("start"):
        if not supervisor.alive():
            supervisor.start(dict(os.environ))


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
