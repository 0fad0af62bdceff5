"""Which process does the work of a program, known also to a supervisor that has not started it.

A launcher notes its process before it becomes the program. When the supervisor dies the program goes on, and the next
supervisor's launcher finds it by that note, and by what it carries in its environment.
"""

import logging
import os

import psutil

from infra.home.home import Home
from infra.processes.orphans import PROGRAM, TAG, environment_of, runs

LIFE = "DUOTEMPO_LIFE"
"""Process id and fingerprint with which a program was begun; what the program starts has another process id."""
DIGITS = 10
"""Of a process id, at most."""
LOG = logging.getLogger(__name__)


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
