"""Ends what a platform left running: whatever its supervisor starts inherits TAG, and keeps it when its parent dies."""

import logging
import signal
import time

import psutil

LOG = logging.getLogger(__name__)
TAG = "DUOTEMPO_PLATFORM_ID"
GRACE_SECONDS = 5.0
"""What a process is given to end by itself; Postgres twice as long."""


def tagged(home_id: str) -> list[psutil.Process]:
    """The processes of a platform, but for the caller and its ancestors."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    return [process for process in psutil.process_iter() if process.pid not in spared and _tag(process) == home_id]


def sweep(home_id: str) -> None:
    """Ends the processes of a platform: the others first, then Postgres, which is asked for a fast shutdown."""
    _end([p for p in tagged(home_id) if not _is_postgres(p)], signal.SIGTERM, GRACE_SECONDS)
    _end(tagged(home_id), signal.SIGINT, 2 * GRACE_SECONDS)


def _end(processes: list[psutil.Process], gently: signal.Signals, grace: float) -> None:
    for process in processes:
        LOG.info("ending what was left of the platform: %s", process)
        _signal(process, gently)
    deadline = time.monotonic() + grace
    while any(_runs(p) for p in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in filter(_runs, processes):
        _signal(process, signal.SIGKILL)
        _await_end(process)


def _await_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while _runs(process) and time.monotonic() < deadline:
        time.sleep(0.05)


def _tag(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(TAG)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return None


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name() == "postgres"
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
