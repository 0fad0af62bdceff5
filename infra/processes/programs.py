"""The long-lived programs of the platform, and supervisord's configuration that runs them."""

import os
import pwd
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.home.databases import Databases
from infra.home.home import Home, State
from infra.home.postgres import Cluster
from infra.pools import DEPLOY_QUEUE, POOLS
from infra.processes.bento import program_name

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Program:
    name: str
    command: list[str]
    directory: Path
    databases: tuple[str, ...] = ()
    """Databases that must answer before it starts."""
    user: str | None = None
    """User that runs it; None: the platform's own."""
    stop_signal: str = "TERM"
    stop_seconds: int = 8
    start_seconds: int = 20
    """Ending sooner counts as a failed start, retried with growing pauses; must exceed the time of its imports."""
    start_retries: int = 3
    """0: the sentinel retries instead, at once if the program was healthy before."""
    stop_group: bool = False
    """Whether to signal its children too, because it does not stop them itself."""
    outlives: bool = True
    """Whether it survives the supervisor's death and the next supervisor adopts it."""

    def launched(self) -> list[str]:
        """The command with which supervisord starts it: the launcher, if it outlives the supervisor."""
        if not self.outlives:
            return self.command
        options = [f"--grace={self.stop_seconds - 1}"]  # before supervisord kills the launcher that waits for it
        options += [f"--user={self.user}"] if self.user else []
        options += ["--group"] if self.stop_group else []
        return [sys.executable, "-m", "infra.processes.launch", *options, *self.databases, "--", *self.command]


def programs(
    home: Home, state: State, cluster: Cluster | None, databases: Databases, project: Path, *, encoder: bool
) -> list[Program]:
    """Lists the platform's programs in start order.

    Args:
        state: Ports and Bentos; a server without a port is external. With an external Prefect, only the worker for
            deployments runs here.
        cluster: The embedded Postgres; None if the database is external.
        encoder: Whether to run the resident encoder.
    """
    own, prefects, mlflows = databases.names
    python = sys.executable
    ports = {name: str(port) for name, port in state.ports.items()}
    listed = []
    if cluster:
        user = cluster.user.pw_name if cluster.user else None
        listed.append(
            Program(
                "postgres", cluster.command(state.ports["postgres"]), Path("/"), (), user, "INT", 12,
                start_seconds=1, start_retries=0,
            )
        )  # fmt: skip
    if "prefect" in ports:
        prefect = ["prefect", "--no-prompt", "server", "start", "--host", "127.0.0.1", "--port", ports["prefect"]]
        listed.append(Program("prefect", [python, "-m", *prefect], home.path, (prefects,)))
    if "mlflow" in ports:
        mlflow = ["infra.services.tracking_server", "--host", "127.0.0.1", "--port", ports["mlflow"], "--workers", "1"]
        mlflow += ["--serve-artifacts", "--artifacts-destination", str(home.mlflow)]
        listed.append(Program("mlflow", [python, "-m", *mlflow], home.path, (mlflows,), stop_group=True))
    listed.append(Program("hook", [python, "-m", "infra.services.webhook"], project, (own,), start_retries=0))
    if encoder:
        listed.append(Program("encoder", [python, "-m", "infra.services.encoder"], project, (own,)))
    worker = [python, "-m", "infra.orchestration.worker"]
    if "prefect" in ports:
        listed += [Program(f"worker-{pool}", [*worker, pool], project) for pool in POOLS]
    else:
        listed.append(Program(f"worker-{DEPLOY_QUEUE}", [*worker, "cpu", DEPLOY_QUEUE], project))
    listed.append(Program("address", [python, "-m", "infra.processes.address"], project))
    tags = dict.fromkeys(tag for tag in (state.bento, state.coming) if tag)
    for tag in tags:
        serve = [python, "-m", "infra.processes.bento", tag]
        listed.append(Program(program_name(tag), serve, project, stop_seconds=20, start_retries=0))
    watch = [python, "-m", "infra.processes.sentinel", str(home.path)]
    listed.append(Program("sentinel", watch, home.path, outlives=False))
    return listed


def configuration(home: Home, listed: list[Program]) -> str:
    """Returns the text of supervisord.conf.

    Log paths are relative to the home, where supervisord runs, because it expands `%` in them twice.
    """
    user = [f"user={pwd.getpwuid(os.getuid()).pw_name}"] if os.geteuid() == 0 else []
    head = [
        "[supervisord]",
        f"logfile={home.log('supervisord').relative_to(home.path)}",
        "logfile_maxbytes=0",
        "umask=077",
        f"pidfile={home.pid_file.relative_to(home.path)}",
        *user,
        "",
        "[unix_http_server]",
        f"file={_plain(home.socket)}",
        "chmod=0600",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    return "\n".join([*head, *(line for program in listed for line in _section(home, program)), ""])


def _section(home: Home, program: Program) -> list[str]:
    return [
        "",
        f"[program:{program.name}]",
        f"command={_plain(shlex.join(program.launched()))}",
        f"directory={_plain(program.directory)}",
        "autorestart=true",
        f"startsecs={program.start_seconds}",
        f"startretries={program.start_retries}",
        f"stopsignal={program.stop_signal}",
        f"stopwaitsecs={program.stop_seconds}",
        f"stopasgroup={str(program.stop_group).lower()}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={home.log(program.name).relative_to(home.path)}",
        "stdout_logfile_maxbytes=0",
    ]


def _plain(text: object) -> str:
    """Escapes `%`, which supervisord would expand."""
    return str(text).replace("%", "%%")
