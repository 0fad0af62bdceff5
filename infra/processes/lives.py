"""Which process does the work of a program, known also to a supervisor that has not started it; and its end."""

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
LIFE = "DUOTEMPO_LIFE"
"""Process id and fingerprint with which a program was begun; what the program starts has another process id."""
DIGITS = 10
"""Of a process id, at most."""


def await_an_end(pids: Iterable[int], seconds: float) -> None:
    """Returns when one of these processes has ended, or after that time; only then where the system tells of no end."""
    if not _system_notifies():
        time.sleep(seconds)
        return
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


@cache
def _system_notifies() -> bool:
    """There are systems that do not tell, and sandboxes that forbid it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        LOG.warning("ends are seen by a look now and then, as this system does not tell of them: %s", error)
        return False
    return True


def begin(home: Home, program: str, fingerprint: str) -> None:
    """Notes that this process is about to become the program."""
    os.environ[LIFE] = f"{os.getpid()} {fingerprint}"
    try:
        note = os.open(home.life(program), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(note, b"%*d" % (DIGITS, os.getpid()), 0)  # over the old one: a full disk has room for that
        finally:
            os.close(note)
    except OSError as error:
        LOG.warning("%s begins without a note, so that another supervisor will begin it anew: %s", program, error)


def living(home: Home, program: str, fingerprint: str | None = None) -> psutil.Process | None:
    """The process that works as the program, of the given fingerprint only, if there is one."""
    if not (noted := _noted(home, program)):
        return None
    try:
        process = psutil.Process(noted)
    except psutil.NoSuchProcess:
        return None
    carried = environment_of(process)
    pid, _, began_with = carried.get(LIFE, "").partition(" ")
    same = (carried.get(TAG), carried.get(PROGRAM), pid) == (home.id, program, str(process.pid))
    return process if same and runs(process) and fingerprint in (None, began_with) else None


def worker_of(home: Home, program: str, pid: int) -> psutil.Process | None:
    """The process that works as the program while `pid` only waits for its end; None when it is that one itself."""
    return None if _noted(home, program) == pid else living(home, program)


def _noted(home: Home, program: str) -> int | None:
    try:
        return int(home.life(program).read_text())
    except (FileNotFoundError, ValueError):  # a full disk leaves it empty
        return None
