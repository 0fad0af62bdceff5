"""Fault injection for `benchmarks/chaos.py`: kills services and supervisors of a platform, and freezes Postgres."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial

import psutil

from benchmarks.errors import BenchError
from components.store.item_vectors import encoder_is_listening
from infra.home import health
from infra.local.platform import Platform
from infra.processes.address import receive_socket
from infra.processes.orphans import runs
from infra.processes.supervisor import Supervisor

SERVICES = ("postgres", "bento", "hook", "encoder", "address")
SUPERVISORS = ("supervisord", "sentinel")
BOTH, FROZEN = "supervisord and sentinel", "postgres, frozen"
VICTIMS = (*SERVICES, *SUPERVISORS, BOTH, FROZEN)
TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.02


def inject_fault(platform: Platform, name: str, frozen_seconds: float) -> float:
    """Kills one of VICTIMS and waits for its recovery.

    Both supervisors killed at once are started again by `up`, as a systemd unit would.

    Args:
        frozen_seconds: How long FROZEN stops Postgres.

    Returns:
        Seconds from the kill until a new process answers; for FROZEN, from SIGCONT until Postgres answers.
    """
    if name == FROZEN:
        return freeze(platform, frozen_seconds)
    names = SUPERVISORS if name == BOTH else (name,)
    wait_until(lambda: all(pid_of(platform, service) for service in names), f"{name} has no process")
    victims = {service: psutil.Process(pid_of(platform, service)) for service in names}
    for victim in victims.values():  # otherwise one restarts the other between the two kills
        victim.suspend()
    started = time.monotonic()
    for victim in victims.values():
        victim.kill()
    wait_until(lambda: not any(map(runs, victims.values())), f"{name} survives a kill")
    if name == BOTH:
        platform.up(lambda stage: None)
    for service, victim in victims.items():
        wait_until(partial(is_replaced, platform, service, victim.pid), f"{name} does not come back")
    return time.monotonic() - started


def freeze(platform: Platform, seconds: float) -> float:
    """Stops all processes of Postgres for `seconds`; returns the seconds from SIGCONT until it answers."""
    server = psutil.Process(pid_of(platform, "postgres"))
    for process in (server, *server.children()):
        send_signal(process, signal.SIGSTOP)
    time.sleep(seconds)
    started = time.monotonic()
    for process in (*server.children(), server):
        send_signal(process, signal.SIGCONT)
    wait_until(lambda: answers(platform, "postgres"), "postgres does not answer after SIGCONT")
    return time.monotonic() - started


def is_replaced(platform: Platform, name: str, killed: int) -> bool:
    """Whether a process other than the killed one answers."""
    return pid_of(platform, name) != killed and answers(platform, name)


def send_signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def restart(platform: Platform, name: str) -> float:
    """Stops a service cleanly and starts it; returns the seconds from the start until it answers."""
    supervisor, program = Supervisor(platform.home), platform.program(name)
    supervisor.stop_program(program)
    started = time.monotonic()
    supervisor.start_program(program)
    wait_until(lambda: answers(platform, name), f"{name} does not start")
    return time.monotonic() - started


def pid_of(platform: Platform, name: str) -> int:
    """Process id of a service or supervisor; 0 while it has none."""
    if name == "supervisord":
        return int(platform.home.pid_file.read_text()) if platform.is_up else 0
    process = Supervisor(platform.home).processes().get(platform.program(name))
    return process.pid or 0 if process else 0


def answers(platform: Platform, name: str) -> bool:
    at = platform.addresses
    match name:
        case "postgres":
            return platform.databases.answers()
        case "bento":
            return health.http(f"{at.serving_url}/readyz")
        case "hook":
            return health.http(f"{at.hook_url}/livez")
        case "encoder":
            return platform.query(encoder_is_listening, default=False)
        case "address":
            return pid_of(platform, name) != 0 and hands_over_socket(platform)
        case _:
            return pid_of(platform, name) != 0


def hands_over_socket(platform: Platform) -> bool:
    os.close(receive_socket(platform.home))
    return True


def wait_until(holds: Callable[[], object], problem: str) -> None:
    """Polls until the condition holds. Raises BenchError after TIMEOUT_SECONDS."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise BenchError(f"{problem} within {TIMEOUT_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
