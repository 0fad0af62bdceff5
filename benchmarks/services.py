"""Starts the services of a bench, Duotempo's and its peers', each in its own process over the same synthetic data."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.database import temporary_database
from benchmarks.errors import BenchError
from benchmarks.provenance import ROOT
from benchmarks.synthetic_data import write_synthetic_shop
from components.bundle.bundle import Bundle
from components.settings import Settings
from components.store.engine import make_engine
from infra.home.addresses import ELSEWHERE, choose_port

START_SECONDS, STOP_SECONDS = 120.0, 15.0
UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools", "--no-access-log",
           "--log-level", "error", "--port")  # fmt: skip
BENTO = ("-m", "bentoml", "serve", "--host", "127.0.0.1", "--port")
DUOTEMPO = (*BENTO, "{port}", "serving.service:Duotempo", "--working-dir", str(ROOT))
WORKER = "_bentoml_impl.worker"


@contextmanager
def synthetic_shop(bundle: Bundle, settings: Settings, *, users: int, events: int) -> Iterator[tuple[Path, str]]:
    """Yields (folder, database URL) with the bundle and synthetic data, and sets the environment of the services."""
    with temporary_database() as url, tempfile.TemporaryDirectory(prefix="duotempo-bench-") as name:
        folder, engine = Path(name), make_engine(url)
        write_synthetic_shop(folder / "bundles" / "1", bundle, engine, settings, users=users, events=events)
        engine.dispose()
        os.environ.update(
            DUOTEMPO_BUNDLES=str(folder / "bundles"), DUOTEMPO_DATABASE_URL=url, DUOTEMPO_HOME=str(folder / "home"),
            BENTOML_HOME=str(folder / "bentoml"), BENTOML_DO_NOT_TRACK="True", OMP_NUM_THREADS="1",
        )  # fmt: skip
        yield folder, url


@contextmanager
def service(command: tuple[str, ...]) -> Iterator[tuple[int, float]]:
    """Runs a service in its own process and yields (port, seconds from the start until it is ready).

    Ready means a response to /readyz with 200, or with 404 from a service without this route. Raises BenchError when
    the service does not start.
    """
    port = choose_port(ELSEWHERE.start, ())
    with tempfile.TemporaryFile("w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while not _is_ready(port):
                if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                    log.seek(0)
                    raise BenchError(f"{command[-1]} does not start:\n{log.read()[-2000:]}")
                time.sleep(0.02)
            yield port, time.monotonic() - started
        finally:
            _terminate(psutil.Process(process.pid))


def _terminate(service: psutil.Process) -> None:
    """Ends the service and its workers, which run in their own sessions."""
    family = [service, *service.children(recursive=True)]
    service.terminate()
    _, left = psutil.wait_procs(family, STOP_SECONDS)
    for process in left:
        process.kill()
    psutil.wait_procs(left)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code in (200, 404)
    except httpx.HTTPError:
        return False


def worker_memory() -> int:
    """Resident bytes of the largest worker among the child processes, mapped files included."""
    workers = (child for child in psutil.Process().children(recursive=True) if WORKER in " ".join(child.cmdline()))
    return max(int(worker.memory_info().rss) for worker in workers)
