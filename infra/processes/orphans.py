"""Ends what a platform left running: whatever its supervisor starts inherits TAG, and keeps it when its parent dies."""

import logging
import signal
import time
from collections.abc import Collection

import psutil

from serving.process.identity import PLATFORM as TAG

LOG = logging.getLogger(__name__)
PROGRAM = "SUPERVISOR_PROCESS_NAME"
"""Where supervisord tells a process, and what that starts, which of its programs it is."""
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Where Prefect tells a process which flow run it works on."""
GRACE_SECONDS = 5.0
"""What a process is given to end by itself; Postgres twice as long."""


def tagged(home_id: str, program: str | None = None) -> list[psutil.Process]:
    """The processes of a platform, or of one of its programs, but for the caller and its ancestors."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    wanted = {TAG: home_id, PROGRAM: program} if program else {TAG: home_id}
    return [p for p in psutil.process_iter() if p.pid not in spared and wanted.items() <= environment_of(p).items()]


def sweep(home_id: str, program: str | None = None, keep: Collection[psutil.Process] = ()) -> None:
    """Ends these processes: the others first, then Postgres, which is asked for a fast shutdown.

    Not those to `keep` and what they have started. Flow runs, which outlive their worker, end with the whole alone.
    """
    kept = {*keep, *(child for process in keep for child in _children(process))}
    whole = program is None and not keep

    def left() -> list[psutil.Process]:
        found = [p for p in tagged(home_id, program) if p not in kept]
        return found if whole else [p for p in found if FLOW_RUN not in environment_of(p)]

    _end([p for p in left() if not _is_postgres(p)], signal.SIGTERM, GRACE_SECONDS)
    _end(left(), signal.SIGINT, 2 * GRACE_SECONDS)


def _end(processes: list[psutil.Process], gently: signal.Signals, grace: float) -> None:
    for process in processes:
        LOG.info("ending what was left of the platform: %s", process)
        _signal(process, gently)
    deadline = time.monotonic() + grace
    while any(runs(p) for p in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in filter(runs, processes):
        _signal(process, signal.SIGKILL)
        _await_end(process)


def _await_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while runs(process) and time.monotonic() < deadline:
        time.sleep(0.05)


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Empty for a process that has ended or is another user's."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name() == "postgres"
    except psutil.Error:
        return False


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
