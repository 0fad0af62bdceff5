"""`python -m infra.processes.sentinel HOME`: watches the supervisor that runs it, which in turn restarts the sentinel.

When the supervisor dies it starts it again, while the programs go on; a program that the supervisor has given up
is tried again, at once and then less and less often, so that neither a second kill nor a disk that was full needs a
hand. It asks the supervisor as soon as a program ends: by itself that looks once a second.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from components.core.logs import log_to
from infra.home.errors import PlatformError
from infra.home.home import Home
from infra.processes.lives import await_an_end
from infra.processes.supervisor import Process, Supervisor

LOG = logging.getLogger(__name__)
WATCH_SECONDS, CLOSE_SECONDS = 0.5, 0.02
"""Between two looks at most, and while the supervisor is about to give a program up."""
FIRST_SECONDS, LONGEST_SECONDS = 0.25, 30.0
"""Between a program's end and its next try: twice as long each time, until it is well for once."""
LOGS_SECONDS, LONG_BYTES = 60.0, 10 * 2**20
"""Between two looks at the logs, and what one may hold."""


class Retries:
    """When to try the programs again that were given up."""

    def __init__(self) -> None:
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def due(self, processes: Mapping[str, Process], well: Container[str], now: float) -> list[str]:
        """Those whose pause is over, by what is known of all programs at `now`, in seconds. well: what has started as
        it should, and so is tried again at once when it ends."""
        for name, process in processes.items():
            if name in well:
                self._pauses[name] = 0.0
            if not process.given_up:
                self._due.pop(name, None)
            elif name not in self._due:
                pause = self._pauses.get(name, FIRST_SECONDS)
                self._due[name] = now + pause
                self._pauses[name] = min(max(2 * pause, FIRST_SECONDS), LONGEST_SECONDS)
        self._due = {name: at for name, at in self._due.items() if name in processes}
        found = [name for name, at in self._due.items() if now >= at]
        for name in found:
            del self._due[name]
        return found

    def wait(self, processes: Mapping[str, Process], now: float) -> float:
        """Seconds until the next look."""
        longest = CLOSE_SECONDS if any(one.wavers for one in processes.values()) else WATCH_SECONDS
        return max(min([longest, *(at - now for at in self._due.values())]), 0.0)


def main(home: Home) -> None:
    log_to(logging.FileHandler(home.log("sentinel")))  # the pipe to the supervisor breaks with it
    supervisor, retries, look_at_logs = Supervisor(home), Retries(), 0.0
    parent = int(home.pid_file.read_text())
    LOG.info("watching the supervisor, process %d", parent)
    while os.getppid() == parent:
        processes = supervisor.processes()
        well = {
            name for name, one in processes.items() if one.settled or (one.pid and home.ready_file(one.pid).is_file())
        }
        for name in retries.due(processes, well, time.monotonic()):
            with home.locked("start"):
                supervisor.start_program(name)
        seconds = retries.wait(processes, time.monotonic())
        if time.monotonic() > look_at_logs:
            keep_short(home.logs)
            look_at_logs = time.monotonic() + LOGS_SECONDS
        await_an_end([parent, *(one.pid for one in processes.values() if one.pid)], seconds)
    LOG.warning("the supervisor is gone: starting it again")
    for pause in pauses():
        try:
            with home.locked("start"):
                if not supervisor.alive():
                    supervisor.start(dict(os.environ))
            return
        except (PlatformError, OSError) as error:
            LOG.warning("again in %.0f s: %s", pause, error)
            time.sleep(pause)


def pauses() -> Iterator[float]:
    """Seconds until the next try."""
    pause = FIRST_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_SECONDS)


def keep_short(logs: Path) -> None:
    """Moves what a log holds to a file beside it, which that replaces, when it grows long; a line or two may be lost,
    as the programs go on writing to the end of the same file."""
    for log in logs.glob("*.log"):
        if log.stat().st_size > LONG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
