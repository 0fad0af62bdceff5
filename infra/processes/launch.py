"""`python -m infra.processes.launch [DATABASE…] -- PROGRAM [ARGUMENT…]`: makes way for a program, then becomes it.

It writes to the program's log itself, so that the program outlives its supervisor. Where an earlier life of the program
goes on since its supervisor has died, of the same settings, it waits for its end and passes on what it is told. Else it
ends what that has left behind (children that hold its port), and waits until its database answers, so that everything
may be started at once and a server outlives a pause of its database.
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

from components.core.logs import log_to
from infra.home.home import Home
from infra.processes.lives import await_an_end, begin, living
from infra.processes.orphans import PROGRAM, TAG, runs, sweep

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2
LOOK_SECONDS = 0.5


def main(arguments: argparse.Namespace, command: list[str]) -> None:
    home, program = Home(Path(os.environ["DUOTEMPO_HOME"])), os.environ[PROGRAM]
    write_to(home.log(program))
    log_to(logging.StreamHandler())
    fingerprint = hashlib.sha256(repr((home.state.environment, command)).encode()).hexdigest()
    if predecessor := living(home, program, fingerprint):
        LOG.info("%s goes on as process %d", program, predecessor.pid)
        follow(home, predecessor, arguments.grace, whole_group=arguments.group)
    sweep(os.environ[TAG], program)
    for database in arguments.databases:
        LOG.info("waiting for the database %s", database)
        while not answers(database):
            time.sleep(PAUSE_SECONDS)
    begin(home, program, fingerprint)
    if arguments.user:
        become(pwd.getpwnam(arguments.user))
    os.execv(command[0], command)


def write_to(log: Path) -> None:
    """Sends what this process says, and the program that it becomes, to the end of the file."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def follow(home: Home, process: psutil.Process, grace: float, *, whole_group: bool) -> None:
    """Returns when the process has ended by itself; ends together with it when told to, after `grace` seconds by force.

    When the supervisor dies meanwhile the process is left to the launcher of the next one.
    """
    supervisor, deadline = int(home.pid_file.read_text()), 0.0

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal deadline
        if os.getppid() == supervisor:
            deadline = time.monotonic() + grace
            tell(process, number, whole_group=whole_group)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while runs(process):
        if os.getppid() != supervisor:
            sys.exit()
        if deadline and time.monotonic() > deadline:
            tell(process, signal.SIGKILL, whole_group=True)
        await_an_end([process.pid, supervisor], LOOK_SECONDS)
    if deadline:
        sys.exit()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def tell(process: psutil.Process, number: int, *, whole_group: bool) -> None:
    try:
        if whole_group:
            os.killpg(process.pid, number)  # supervisord has made it the first of its group
        else:
            process.send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return


def become(user: pwd.struct_passwd) -> None:
    """Gives up root for another user."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def answers(database: str) -> bool:
    import psycopg  # takes time, and not every program waits for one

    try:
        psycopg.connect(os.environ["DUOTEMPO_DATABASE_URL"], dbname=database, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("databases", nargs="*")
    parser.add_argument("--user", help="who runs the program")
    parser.add_argument("--grace", type=float, default=8.0, help="seconds in which it ends when it is told to")
    parser.add_argument("--group", action="store_true", help="whether its children are told, too")
    return parser.parse_args(words)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(parsed(sys.argv[1:split]), sys.argv[split + 1 :])
