"""A real Bento over HTTP, in a process of its own."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import httpx
import psutil

from components.store.engine import make_engine
from components.store.keys import ADMIN, create_key
from tests.support.ports import free_port
from tests.support.toy_data import squares
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PATIENT = {"DUOTEMPO_SERVING__READ_SECONDS": "1", "DUOTEMPO_SERVING__WRITE_SECONDS": "5"}
"""A Postgres that is slow because the machine is busy does not count as away."""


@contextmanager
def bento(folder: Path, url: str, **settings: str) -> Iterator[str]:
    """The address of a real Bento in a process of its own, its bundle in `folder`; `settings` are more variables."""
    with mortal_bento(folder, url, **settings) as (address, _):
        yield address


@contextmanager
def mortal_bento(folder: Path, url: str, **settings: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """As `bento`, with a function that kills its processes on the spot (SIGKILL)."""
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Duotempo", "--host", "127.0.0.1"]
    environment = os.environ | {
        "DUOTEMPO_BUNDLES": str(folder),
        "DUOTEMPO_DATABASE_URL": url,
        "DUOTEMPO_HOME": str(folder / "home"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **PATIENT,
        **settings,
    }
    with (folder / "bento.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--working-dir", str(ROOT)],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            eventually(lambda: _is_alive(address, server), 120)
            yield address, lambda: _kill(server)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
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
    """With its worker, which has a session of its own."""
    workers = psutil.Process(server.pid).children(recursive=True)
    os.killpg(server.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers)
    server.wait()


def admin_key(url: str) -> dict[str, str]:
    """The header of a new key with the scope admin; a service that starts later knows it."""
    engine = make_engine(url)
    with engine.begin() as connection:
        _, key = create_key(connection, "the tests", [ADMIN])
    engine.dispose()
    return {"Authorization": f"Bearer {key}"}


def wait_until_ready(address: str, seconds: float = 120.0) -> None:
    """Until /readyz says 200."""
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
class World:
    """Where the service and its database are."""

    address: str
    database: str
    admin: Mapping[str, str] = field(default_factory=dict)
    """The header of a key with the scope admin."""
