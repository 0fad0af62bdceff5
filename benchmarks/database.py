"""A temporary Postgres server for a bench. Its port is random, so that two benches can start at once."""

import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.errors import BenchError
from infra.home.addresses import ELSEWHERE as PORTS
from infra.home.addresses import choose_port
from infra.home.home import Home
from infra.home.postgres import ELSEWHERE, locate
from infra.migrations import migrate

START_SECONDS = 60.0


@contextmanager
def temporary_database() -> Iterator[str]:
    """Yields the URL of an empty database with Duotempo's schema. Raises BenchError when the server does not start."""
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder))
        home.make()
        cluster, password, port = locate(home), secrets.token_hex(16), choose_port(random.choice(PORTS), ())
        cluster.initialise(password)
        identity = (
            {"user": cluster.user.pw_uid, "group": cluster.user.pw_gid, "extra_groups": []} if cluster.user else {}
        )
        with (home.logs / "postgres.log").open("w") as log:
            server = subprocess.Popen(cluster.command(port), cwd="/", stdout=log, stderr=log, **identity)  # type: ignore[call-overload]
        url = f"postgresql://duotempo:{password}@127.0.0.1:{port}/postgres"
        try:
            _wait_for(url)
            migrate(url)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: does not wait for open connections
            server.wait()
            shutil.rmtree(ELSEWHERE / home.id, ignore_errors=True)


def _wait_for(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > end:
                raise BenchError(f"Postgres did not start within {START_SECONDS:.0f} s: {error}") from error
            time.sleep(0.1)
        else:
            return
