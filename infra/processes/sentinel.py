"""`python -m infra.processes.sentinel HOME`: watches the supervisor that runs it, which in turn restarts the sentinel.

If the supervisor dies, the sentinel restarts it while the programs keep running. A program that the supervisor has
given up is retried at once, then with growing pauses, so that a repeated kill or a full disk needs no manual restart.
The sentinel polls the supervisor as soon as a program ends; by itself supervisord checks only once a second.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from components.core.logs import configure_logging
from infra.home.errors import PlatformError
from infra.home.home import Home
from infra.processes.liveness import wait_for_any_exit
from infra.processes.supervisor import Process, Supervisor

LOG = logging.getLogger(__name__)
POLL_SECONDS, BACKOFF_POLL_SECONDS = 0.5, 0.02
"""Polling intervals: the longest, and while a program is in back-off."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.25, 30.0
"""Pause between a program's end and its retry: doubles each time, until the program is healthy once."""
LOG_CHECK_SECONDS, MAX_LOG_BYTES = 60.0, 10 * 2**20
"""Interval of log truncation, and the maximum size of a log."""


class Retries:
    """Schedules retries of programs that the supervisor has given up, with exponential back-off."""

    def __init__(self) -> None:
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def due(self, processes: Mapping[str, Process], healthy: Container[str], now: float) -> list[str]:
        """Returns the programs to retry now.

        Args:
            processes: All programs and their states.
            healthy: Programs that have started successfully; they are retried at once when they end.
            now: Monotonic time in seconds.
        """
        for name, process in processes.items():
            if name in healthy:
                self._pauses[name] = 0.0
            if not process.given_up:
                self._due.pop(name, None)
            elif name not in self._due:
                pause = self._pauses.get(name, FIRST_PAUSE_SECONDS)
                self._due[name] = now + pause
                self._pauses[name] = min(max(2 * pause, FIRST_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
        self._due = {name: at for name, at in self._due.items() if name in processes}
        due_now = [name for name, at in self._due.items() if now >= at]
        for name in due_now:
            del self._due[name]
        return due_now

    def wait(self, processes: Mapping[str, Process], now: float) -> float:
        """Seconds until the next poll."""
        longest = BACKOFF_POLL_SECONDS if any(process.in_backoff for process in processes.values()) else POLL_SECONDS
        return max(min([longest, *(at - now for at in self._due.values())]), 0.0)


def main(home: Home) -> None:
    configure_logging(
        logging.FileHandler(home.log("sentinel"))
    )  # not to the pipe, which breaks when the supervisor dies
    supervisor, retries, next_log_check = Supervisor(home), Retries(), 0.0
    parent = int(home.pid_file.read_text())
    LOG.info("watching the supervisor, process %d", parent)
    while os.getppid() == parent:
        processes = supervisor.processes()
        healthy = {
            name
            for name, process in processes.items()
            if process.settled or (process.pid and home.ready_file(process.pid).is_file())
        }
        for name in retries.due(processes, healthy, time.monotonic()):
            with home.locked("start"):
                supervisor.start_program(name)
        seconds = retries.wait(processes, time.monotonic())
        if time.monotonic() > next_log_check:
            rotate_logs(home.logs)
            next_log_check = time.monotonic() + LOG_CHECK_SECONDS
        wait_for_any_exit([parent, *(process.pid for process in processes.values() if process.pid)], seconds)
    LOG.warning("the supervisor died: starting it again")
    for pause in backoff_pauses():
        try:
            with home.locked("start"):
                if not supervisor.alive():
                    supervisor.start(dict(os.environ))
            return
        except (PlatformError, OSError) as error:
            LOG.warning("retrying in %.0f s: %s", pause, error)
            time.sleep(pause)


def backoff_pauses() -> Iterator[float]:
    """Yields the pauses between retries, in seconds."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


def rotate_logs(logs: Path) -> None:
    """Rotates logs over MAX_LOG_BYTES to `.log.1` by copying and truncating; a line or two may be lost.

    Programs keep appending to the same file, so it cannot be renamed.
    """
    for log in logs.glob("*.log"):
        if log.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
