"""Orphan reaper: ends processes that a platform left running.

Everything that its supervisor starts inherits the variable TAG, and keeps it after its parent dies.
"""

import logging
import signal
from collections.abc import Collection

import psutil

from components.core.polling import poll
from serving.process.identity import PLATFORM as TAG

LOG = logging.getLogger(__name__)
PROGRAM = "SUPERVISOR_PROCESS_NAME"
"""Variable in which supervisord puts a program's name, inherited by its children."""
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Variable in which Prefect puts the id of the flow run that a process executes."""
GRACE_SECONDS = 5.0
"""Time for a process to end after a signal before it is killed; Postgres gets twice as long."""
PAUSE_SECONDS = 0.05


def tagged_processes(home_id: str, program: str | None = None) -> list[psutil.Process]:
    """Returns the processes of a platform, or of one of its programs, without the caller and its ancestors."""
    own = psutil.Process()
    excluded = {own.pid, *(parent.pid for parent in own.parents())}
    wanted = {TAG: home_id, PROGRAM: program} if program else {TAG: home_id}
    return [p for p in psutil.process_iter() if p.pid not in excluded and wanted.items() <= environment_of(p).items()]


def end_orphans(home_id: str, program: str | None = None, keep: Collection[psutil.Process] = ()) -> None:
    """Ends the processes of a platform, or of one program; Postgres last, with a fast shutdown.

    Flow runs outlive their worker: they are ended only with the whole platform.

    Args:
        keep: Processes to spare, with their children.
    """
    kept = {*keep, *(child for process in keep for child in _children(process))}
    whole_platform = program is None and not keep

    def remaining() -> list[psutil.Process]:
        processes_left = [p for p in tagged_processes(home_id, program) if p not in kept]
        return processes_left if whole_platform else [p for p in processes_left if FLOW_RUN not in environment_of(p)]

    _end([p for p in remaining() if not _is_postgres(p)], signal.SIGTERM, GRACE_SECONDS)
    _end(remaining(), signal.SIGINT, 2 * GRACE_SECONDS)


def _end(processes: list[psutil.Process], stop_signal: signal.Signals, grace: float) -> None:
    for process in processes:
        LOG.info("ending an orphan of the platform: %s", process)
        _signal(process, stop_signal)
    poll(lambda: not any(map(runs, processes)), grace, PAUSE_SECONDS)
    for process in filter(runs, processes):
        _signal(process, signal.SIGKILL)
        _await_end(process)


def _await_end(process: psutil.Process) -> None:
    poll(lambda: not runs(process), GRACE_SECONDS, PAUSE_SECONDS)


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Environment of a process; empty if it has ended or belongs to another user."""
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
