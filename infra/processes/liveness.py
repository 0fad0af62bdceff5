"""Finds the process that runs a program, even if an earlier supervisor started it, and waits for its end."""

import logging
import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache

import psutil

from infra.home.home import Home
from infra.processes.orphans import PROGRAM, TAG, environment_of, runs

LOG = logging.getLogger(__name__)
START_VARIABLE = "DUOTEMPO_LIFE"
"""Variable with the process id and fingerprint of a program's start; its children have other process ids."""
DIGITS = 10
"""Maximum digits of a process id."""


def wait_for_any_exit(pids: Iterable[int], seconds: float) -> None:
    """Waits until one of the processes ends, at most `seconds`; without pidfd support, always that long."""
    if not _has_pidfd():
        time.sleep(seconds)
        return
    with ExitStack() as opened:
        poller = select.poll()
        for pid in pids:
            try:
                process_fd = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            opened.callback(os.close, process_fd)
            poller.register(process_fd, select.POLLIN)
        poller.poll(seconds * 1000)


@cache
def _has_pidfd() -> bool:
    """Whether pidfd works here: some systems lack it, and some sandboxes forbid it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        LOG.warning("pidfd is not available, so ended processes are detected by polling: %s", error)
        return False
    return True


def begin(home: Home, program: str, fingerprint: str) -> None:
    """Records that this process is about to exec the program."""
    os.environ[START_VARIABLE] = f"{os.getpid()} {fingerprint}"
    try:
        pid_file = os.open(home.program_pid_file(program), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(pid_file, b"%*d" % (DIGITS, os.getpid()), 0)  # overwrites in place, which works on a full disk
        finally:
            os.close(pid_file)
    except OSError as error:
        LOG.warning("%s begins without a note of its pid, so a new supervisor will restart it: %s", program, error)


def living(home: Home, program: str, fingerprint: str | None = None) -> psutil.Process | None:
    """Returns the running process of the program, or None; with a fingerprint, only if started with the same."""
    if not (recorded_pid := _recorded_pid(home, program)):
        return None
    try:
        process = psutil.Process(recorded_pid)
    except psutil.NoSuchProcess:
        return None
    variables = environment_of(process)
    pid, _, started_with = variables.get(START_VARIABLE, "").partition(" ")
    same = (variables.get(TAG), variables.get(PROGRAM), pid) == (home.id, program, str(process.pid))
    return process if same and runs(process) and fingerprint in (None, started_with) else None


def adopted_process(home: Home, program: str, pid: int) -> psutil.Process | None:
    """Returns the program's real process if `pid` is only a launcher waiting for it; None if `pid` is the program."""
    return None if _recorded_pid(home, program) == pid else living(home, program)


def _recorded_pid(home: Home, program: str) -> int | None:
    try:
        return int(home.program_pid_file(program).read_text())
    except (FileNotFoundError, ValueError):  # a full disk leaves it empty
        return None
