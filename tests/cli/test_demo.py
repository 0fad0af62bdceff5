"""`duotempo demo`: beside a running demo, after a failed stage, and when interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from components.settings import Settings
from infra.local.platform import Platform
from infra.processes.orphans import tagged_processes
from tests.support.platforms import SharedPlatform, make_project
from tests.support.ports import free_ports

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def demo_platform(tmp_path: Path) -> Iterator[Platform]:
    """The platform that a demo in this test's home starts."""
    settings = Settings(home=tmp_path / "home" / "demo", database_url=None, platform=free_ports())
    platform = Platform(settings, make_project(tmp_path / "project"))
    yield platform
    platform.down()
    platform.remove()


def start_demo(home: Path, database_url: str, *words: str | Path) -> subprocess.Popen[str]:
    ports = {f"DUOTEMPO_PLATFORM__{name.upper()}": str(port) for name, port in free_ports() if port is not None}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUOTEMPO_", "PREFECT_"))}
    ports["DUOTEMPO_PLATFORM__ENCODER"] = "false"
    places = {"DUOTEMPO_HOME": str(home), "DUOTEMPO_CACHE": str(home / "cache"), "DUOTEMPO_DATABASE_URL": database_url}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", *map(str, words)],
        env={**kept, **ports, **places}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_restore_sigint,
    )  # fmt: skip


def _restore_sigint() -> None:
    """Restores SIGINT, which background jobs of a shell ignore, and so would their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def names(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_second_demo_does_not_touch_the_running_one(shared_platform: SharedPlatform, database: str) -> None:
    shared_platform.renew()
    home = shared_platform.platform.home.path.parent
    out, err = start_demo(home, database).communicate(timeout=100)
    assert "the stage set-up failed: a demo is running" in err, out + err
    assert all(service["healthy"] for service in shared_platform.platform.status()["services"].values())


@pytest.mark.long
def test_failed_demo_on_external_server_leaves_no_process_and_no_change(
    demo_platform: Platform, database: str, tmp_path: Path
) -> None:
    home = demo_platform.home
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO users (user_id) VALUES ('mine')")
    own = f"duotempo_demo_{home.id}"
    with closing(psycopg.connect(database, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {own}_mlflow".encode())
    demo = start_demo(home.path.parent, database, "--data", tmp_path / "nowhere")
    out, err = demo.communicate(timeout=800)
    try:
        assert demo.returncode == 1
        assert "the stage data failed" in err, out + err
        assert tagged_processes(home.id) == []
        assert {own, f"{own}_prefect", f"{own}_mlflow"} <= names(database)
        with psycopg.connect(make_url(database).set(database=own).render_as_string(False)) as connection:
            assert connection.execute("SELECT to_regclass('events') IS NOT NULL").fetchone() == (True,)
        with psycopg.connect(database) as connection:
            assert connection.execute("SELECT user_id FROM users").fetchall() == [("mine",)]
    finally:
        with closing(psycopg.connect(database, autocommit=True)) as connection:
            for name in (own, f"{own}_prefect", f"{own}_mlflow"):
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_interrupted_demo_stops_its_platform(
    demo_platform: Platform, database: str, number: signal.Signals, code: int
) -> None:
    demo = start_demo(demo_platform.home.path.parent, database)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "postgres is ready" in line:
            break
    assert tagged_processes(demo_platform.home.id)
    demo.send_signal(number)
    demo.communicate(timeout=100)
    assert demo.returncode == code
    assert tagged_processes(demo_platform.home.id) == []
    assert not demo_platform.is_up
