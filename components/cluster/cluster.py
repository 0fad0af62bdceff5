"""Connection to a Ray cluster, one at a time, with errors that say how to fix them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

from components.core.errors import DuotempoError

Kind = Literal["GPU", "CPU"]
PORT_SECONDS = 5.0
STATUS_SECONDS = 30.0
ADDRESS = re.compile(r"(?P<host>[^:/\s]+):(?P<port>\d{1,5})")


class RayClusterError(DuotempoError):
    """Ray cannot be used; the message names the address, what is missing and how to fix it."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects this process to the cluster at `address` (HOST:PORT of its head) and disconnects at the end.

    Without an address it starts a local Ray for the duration of the context.

    Raises:
        RayClusterError: Ray is not installed, nothing answers at the address, or this process cannot join the cluster;
            raised within a minute.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RayClusterError(
            f"{error.name} is not installed, and {_requiring_setting(address)} asks for it: pip install 'duotempo[ray]'"
        ) from error
    if address:
        _check_address(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    previous_handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise RayClusterError(
            f"Ray, which {_requiring_setting(address)} asks for, rejected this process ({error}): this machine must "
            "have the cluster's versions of Python and Ray, and be a node of it (ray start --address=HOST:6379)"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, previous_handler)  # Ray installs one that exits at once
    try:
        yield
    finally:
        ray.shutdown()


def devices() -> tuple[Kind, int]:
    """Kind and number of the devices for models on the connected cluster: GPUs if it has any, otherwise CPUs."""
    import ray

    kind: Kind = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
    return kind, device_count(kind)


def device_count(kind: Kind) -> int:
    """Number of devices of the connected cluster. Raises RayClusterError for none: tasks would wait forever."""
    import ray

    available = int(ray.cluster_resources().get(kind, 0))
    if not available:
        raise RayClusterError(f"the Ray cluster has no {kind}: add a node with one (ray start --address=HOST:6379)")
    return available


def require_shared(folder: Path) -> None:
    """Raises RayClusterError unless every node of the connected cluster sees files written to `folder`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    path_exists = ray.remote(num_cpus=0)(_exists)
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    with NamedTemporaryFile(dir=folder, prefix="shared-") as probe:
        visible = {
            node: path_exists.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                probe.name
            )
            for node in nodes
        }
        blind_nodes = sorted({nodes[node] for node, answer in visible.items() if not ray.get(answer)})
    if blind_nodes:
        raise RayClusterError(
            f"{', '.join(blind_nodes)} of the Ray cluster does not see {folder}: put DUOTEMPO_HOME on a file system "
            "that all nodes mount under the same path, or train on one machine (no DUOTEMPO_RAY_ADDRESS)"
        )


def unwrap_error(error: BaseException) -> DuotempoError | None:
    """The Duotempo error that a worker raised, unwrapped from Ray's errors; None if there is none."""
    cause: Any = error
    while cause is not None and not type(cause).__module__.startswith("components."):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause if isinstance(cause, DuotempoError) else None


def _exists(path: str) -> bool:
    return Path(path).exists()


def _check_address(address: str) -> None:
    """Checks the address before Ray connects, because Ray itself retries for minutes."""
    match = ADDRESS.fullmatch(address)
    if not match:
        raise RayClusterError(f"DUOTEMPO_RAY_ADDRESS {address!r} is not like HOST:6379, the address of a Ray head")
    how_to_fix = "start the cluster (ray start --head --port=6379), or correct or unset DUOTEMPO_RAY_ADDRESS"
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=PORT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RayClusterError(f"no Ray cluster answers at {address} ({error}): {how_to_fix}") from error
    status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        subprocess.run(status, capture_output=True, timeout=STATUS_SECONDS, check=True)
    except subprocess.TimeoutExpired as error:
        raise RayClusterError(
            f"what answers at {address} is not a Ray cluster, or it hangs: it reported no status within "
            f"{STATUS_SECONDS:.0f} s: {how_to_fix}"
        ) from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RayClusterError(
            f"the Ray cluster at {address} rejects this machine ({last}): install its version of Ray here, and set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN if it requires a token"
        ) from error


def _requiring_setting(address: str | None) -> str:
    return f"DUOTEMPO_RAY_ADDRESS={address}" if address else "DUOTEMPO_FUSION__WORKERS above 1"
