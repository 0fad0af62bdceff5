"""Free ports."""

import socket
from contextlib import ExitStack, closing

from components.settings import PlatformSettings


def free_port() -> int:
    """A port without a listener at the moment."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def free_ports() -> PlatformSettings:
    """Settings of a platform with free ports, no schedules, and a start timeout for a busy machine."""
    names = ("postgres_port", "prefect_port", "mlflow_port", "hook_port", "serving_port")
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
    return PlatformSettings(**ports, schedules=False, start_timeout_seconds=300)
