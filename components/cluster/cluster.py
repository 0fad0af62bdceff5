"""The way to a Ray cluster: one connection at a time, and an error with its remedy for whatever is in the way."""

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
    """Ray cannot be used; the message names the address, what is missing, and says how to fix it."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects this process to the cluster at `address` (HOST:PORT of its head), and parts from it at the end.

    Without an address it is a Ray of this machine that ends with the context. Raises RayClusterError within a minute
    when Ray is not installed, nothing answers, or what answers is no cluster that this process can join.
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
    """What models of the connected cluster run on, GPUs if there is any, and how many of them it has."""
    import ray

    kind: Kind = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
    return kind, device_count(kind)


def device_count(kind: Kind) -> int:
    """How many of them the connected cluster has. Raises RayClusterError for none: work would wait for ever."""
    import ray

    available = int(ray.cluster_resources().get(kind, 0))
    if not available:
        raise RayClusterError(f"the Ray cluster has no {kind}: add a node with one (ray start --address=HOST:6379)")
    return available


def require_shared(folder: Path) -> None:
    """Raises RayClusterError unless every node of the connected cluster sees what this process writes to `folder`."""
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


def own_error(error: BaseException) -> DuotempoError | None:
    """The error of Duotempo that a worker raised, found in those that Ray has put around it."""
    cause: Any = error
    while cause is not None and not type(cause).__module__.startswith("components."):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause if isinstance(cause, DuotempoError) else None


def _exists(path: str) -> bool:
    return Path(path).exists()


def _check_address(address: str) -> None:
    """Asks before Ray does: where nothing answers, Ray itself tries for minutes."""
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
            f"what answers at {address} is no Ray cluster, or a stuck one: it told no status within "
            f"{STATUS_SECONDS:.0f} s: {how_to_fix}"
        ) from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RayClusterError(
            f"the Ray cluster at {address} turns this machine away ({last}): install its version of Ray here, and set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN where it asks for a token"
        ) from error


def _requiring_setting(address: str | None) -> str:
    return f"DUOTEMPO_RAY_ADDRESS={address}" if address else "DUOTEMPO_FUSION__WORKERS above 1"
