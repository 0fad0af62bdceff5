"""`python -m infra.local.sentinel HOME`: watches the supervisor that runs it, which in turn restarts the sentinel.

When the supervisor dies it sweeps what that left behind and starts it again; a program that the supervisor has given up
is tried again, at once and then less and less often, so that neither a second kill nor a disk that was full needs a
hand. It asks the supervisor as soon as a program ends: by itself that looks once a second.
"""

import logging
import os
import select
import sys
import time
from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from components.logs import log_to
from infra.local.home import Home
from infra.local.supervisor import Process, Supervisor

LOG = logging.getLogger(__name__)
WATCH_SECONDS, CLOSE_SECONDS = 0.5, 0.02
"""Between two looks at most, and while the supervisor is about to give a program up."""
FIRST_SECONDS, LONGEST_SECONDS = 0.25, 30.0
"""Between a program's end and its next try: twice as long each time, until it is well for once."""


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
    supervisor, retries, told = Supervisor(home), Retries(), tells_of_ends()
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
        if told:
            await_an_end([one.pid for one in processes.values() if one.pid], seconds)
        else:
            time.sleep(seconds)
    LOG.warning("the supervisor is gone: starting it again")
    with home.locked("start"):
        if not supervisor.alive():
            supervisor.start(dict(os.environ))


def tells_of_ends() -> bool:
    """Whether this system tells when a process ends; there are those without, and sandboxes that forbid it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        LOG.warning(
            "ends are seen by a look every %s s, as this system does not tell of them: %s", WATCH_SECONDS, error
        )
        return False
    return True


def await_an_end(pids: Iterable[int], seconds: float) -> None:
    """Returns when one of these processes has ended, or after that time. Needs a system that `tells_of_ends`."""
    with ExitStack() as opened:
        ends = select.poll()
        for pid in pids:
            try:
                end = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            opened.callback(os.close, end)
            ends.register(end, select.POLLIN)
        ends.poll(seconds * 1000)


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
