"""A real Bento over HTTP, in its own process."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import httpx

from components.store.engine import make_engine
from components.store.keys import ADMIN, create_key
from infra.processes.bento import WORKER
from tests.support.toy_data import squares
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
LONG_TIMEOUTS = {"DUOTEMPO_SERVING__READ_SECONDS": "1", "DUOTEMPO_SERVING__WRITE_SECONDS": "5"}
"""Longer timeouts, so that a Postgres slowed down by a busy machine does not count as down."""


@contextmanager
def bento(folder: Path, url: str, **settings: str) -> Iterator[str]:
    """Starts a real Bento with the bundle in `folder`, and yields its address; `settings` are environment variables."""
    with killable_bento(folder, url, **settings) as (address, _):
        yield address


@contextmanager
def killable_bento(folder: Path, url: str, **settings: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """As `bento`, and also yields a function that kills it (SIGKILL).

    It runs as a BentoML worker, as on the platform, without the parent process of `bentoml serve`.
    """
    environment = os.environ | {
        "DUOTEMPO_BUNDLES": str(folder),
        "DUOTEMPO_DATABASE_URL": url,
        "DUOTEMPO_HOME": str(folder / "home"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **LONG_TIMEOUTS,
        **settings,
    }
    with (folder / "bento.log").open("w") as log, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        command = [sys.executable, "-m", WORKER, "serving.service:Duotempo", "--worker-id", "1"]
        server = subprocess.Popen(
            [*command, "--fd", str(listening.fileno())], pass_fds=[listening.fileno()],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        eventually(lambda: _is_alive(address, server), 120)
        yield address, lambda: _kill(server)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            _kill(server)


def _is_alive(address: str, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, f"the Bento ended with {server.returncode}"
    try:
        with urllib.request.urlopen(f"{address}/livez", timeout=30) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError, TimeoutError):
        return False


def _kill(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()


def admin_key(url: str) -> dict[str, str]:
    """The header of a new key with the scope admin, for services that start later."""
    engine = make_engine(url)
    with engine.begin() as connection:
        _, key = create_key(connection, "the tests", [ADMIN])
    engine.dispose()
    return {"Authorization": f"Bearer {key}"}


def wait_until_ready(address: str, seconds: float = 120.0) -> None:
    """Waits until /readyz returns 200."""
    with httpx.Client(base_url=address, timeout=30) as client:
        eventually(lambda: client.get("/readyz").status_code == 200, seconds)


HISTORIES = {
    "bella": [(name, "purchase", 100.0 - n) for n, name in enumerate(squares("black")[:8])],
    "willy": [(name, "like", 5.0 - n) for n, name in enumerate(squares("white")[:4])],
    "turner": [
        *[(name, "purchase", 60.0 - n) for n, name in enumerate(squares("black")[8:14])],
        *[(name, "click", 0.5) for name in squares("white")[8:11]],
    ],
}


@dataclass(frozen=True)
class RunningService:
    """A running service: its address, its database's URL, and an admin header."""

    address: str
    database: str
    admin: Mapping[str, str] = field(default_factory=dict)
    """The header of a key with the scope admin."""
