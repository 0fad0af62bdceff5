"""`python -m infra.processes.launch [DATABASE…] -- PROGRAM [ARGUMENT…]`: prepares for a program, then execs it.

It redirects output to the program's log itself, so that the program outlives its supervisor. If the program still runs
with the same settings since an earlier supervisor died, it waits for that process to end and forwards signals to it.
Otherwise it ends orphans of the program (children that hold its port) and waits until its database answers, so that all
programs can be started at once and a server survives a restart of its database.
"""

import argparse
import hashlib
import logging
import os
import pwd
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from components.core.logs import configure_logging
from infra.home.home import Home
from infra.processes.liveness import begin, living, wait_for_any_exit
from infra.processes.orphans import PROGRAM, TAG, end_orphans, runs

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2
POLL_SECONDS = 0.5


def main(arguments: argparse.Namespace, command: list[str]) -> None:
    home, program = Home(Path(os.environ["DUOTEMPO_HOME"])), os.environ[PROGRAM]
    redirect_output(home.log(program))
    configure_logging(logging.StreamHandler())
    fingerprint = hashlib.sha256(repr((home.state.environment, command)).encode()).hexdigest()
    if predecessor := living(home, program, fingerprint):
        LOG.info("%s still runs as process %d", program, predecessor.pid)
        wait_for_predecessor(home, predecessor, arguments.grace, whole_group=arguments.group)
    end_orphans(os.environ[TAG], program)
    for database in arguments.databases:
        LOG.info("waiting for the database %s", database)
        while not database_answers(database):
            time.sleep(PAUSE_SECONDS)
    begin(home, program, fingerprint)
    if arguments.user:
        drop_privileges(pwd.getpwnam(arguments.user))
    os.execv(command[0], command)


def redirect_output(log: Path) -> None:
    """Appends stdout and stderr of this process, and of the program that it execs, to the file."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def wait_for_predecessor(home: Home, process: psutil.Process, grace: float, *, whole_group: bool) -> None:
    """Waits for an adopted process to end by itself; forwards SIGTERM and SIGINT to it, and then exits with it.

    If the supervisor dies meanwhile, this launcher exits and leaves the process to the next supervisor's launcher.

    Args:
        grace: Seconds between a forwarded signal and SIGKILL.
        whole_group: Whether to signal the whole process group.
    """
    supervisor, deadline = int(home.pid_file.read_text()), 0.0

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal deadline
        if os.getppid() == supervisor:
            deadline = time.monotonic() + grace
            send_signal(process, number, whole_group=whole_group)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    while runs(process):
        if os.getppid() != supervisor:
            sys.exit()
        if deadline and time.monotonic() > deadline:
            send_signal(process, signal.SIGKILL, whole_group=True)
        wait_for_any_exit([process.pid, supervisor], POLL_SECONDS)
    if deadline:
        sys.exit()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def send_signal(process: psutil.Process, number: int, *, whole_group: bool) -> None:
    try:
        if whole_group:
            os.killpg(process.pid, number)  # supervisord made it the leader of its process group
        else:
            process.send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return


def drop_privileges(user: pwd.struct_passwd) -> None:
    """Drops root privileges for another user."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def database_answers(database: str) -> bool:
    import psycopg  # slow import, not needed by every program

    try:
        psycopg.connect(os.environ["DUOTEMPO_DATABASE_URL"], dbname=database, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("databases", nargs="*")
    parser.add_argument("--user", help="user that runs the program")
    parser.add_argument("--grace", type=float, default=8.0, help="seconds from a stop signal to SIGKILL")
    parser.add_argument("--group", action="store_true", help="signal its whole process group")
    return parser.parse_args(words)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(parse_arguments(sys.argv[1:split]), sys.argv[split + 1 :])
