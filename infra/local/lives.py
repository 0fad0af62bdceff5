"""Which process does the work of a program, known also to a supervisor that has not started it.

A launcher notes its process before it becomes the program. When the supervisor dies the program goes on, and the next
supervisor's launcher finds it by that note, and by what it carries in its environment.
"""

import os

import psutil

from infra.local.home import Home
from infra.local.sweep import PROGRAM, TAG, environment_of, runs

LIFE = "DUOTEMPO_LIFE"
"""Process id and fingerprint with which a program was begun; what the program starts has another process id."""


def begin(home: Home, program: str, fingerprint: str) -> None:
    """Notes that this process is about to become the program."""
    os.environ[LIFE] = f"{os.getpid()} {fingerprint}"
    part = home.life(program).with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(home.life(program))


def living(home: Home, program: str, fingerprint: str | None = None) -> psutil.Process | None:
    """The process that works as the program, of the given fingerprint only, if there is one."""
    try:
        process = psutil.Process(int(home.life(program).read_text()))
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    carried = environment_of(process)
    pid, _, began_with = carried.get(LIFE, "").partition(" ")
    same = (carried.get(TAG), carried.get(PROGRAM), pid) == (home.id, program, str(process.pid))
    return process if same and runs(process) and fingerprint in (None, began_with) else None


def worker_of(home: Home, program: str, pid: int) -> psutil.Process | None:
    """The process that works as the program while `pid` only waits for its end; None when it is that one itself."""
    try:
        if int(home.life(program).read_text()) == pid:
            return None
    except FileNotFoundError:
        return None
    return living(home, program)
