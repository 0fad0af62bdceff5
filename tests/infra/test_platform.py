"""The platform from outside: services, recovery after kills, up and down."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
from werkzeug.security import generate_password_hash

from components import registry
from components.settings import Settings
from infra.home.addresses import is_port_free
from infra.home.errors import PlatformError
from infra.local import units
from infra.local.platform import Platform
from infra.processes.orphans import tagged_processes
from infra.processes.supervisor import Supervisor
from infra.watch.problems import examine
from tests.support.platforms import SharedPlatform, make_project
from tests.support.ports import free_ports
from tests.support.waiting import eventually

SERVICES = {"postgres", "prefect", "mlflow", "hook", "encoder", "worker-cpu", "worker-gpu"}
RECOVERY_SECONDS = 90.0


def healthy(platform: Platform) -> bool:
    return all(service["healthy"] for service in platform.status()["services"].values())


def pid(platform: Platform, name: str) -> int | None:
    number: int | None = platform.status()["services"][name]["pid"]
    return number


def recovered(platform: Platform, name: str, before: int) -> bool:
    """Whether a service has a new process and all services are healthy."""
    return pid(platform, name) not in (None, before) and healthy(platform)


def supervisor_pid(platform: Platform) -> int:
    return int(platform.home.pid_file.read_text() or 0)  # supervisord empties the file before it writes it


def has_ended(number: int) -> bool:
    return not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_services_are_healthy_and_status_hides_passwords(started: SharedPlatform) -> None:
    status = started.platform.status()
    assert set(status["services"]) == SERVICES
    assert healthy(started.platform)
    assert status["served"] is None
    assert get(f"{started.platform.addresses.mlflow_url}/health") == "OK"
    home = started.platform.home
    for name in ("postgres", "prefect", "mlflow"):
        secret = home.secret(name)
        assert secret
        assert secret not in json.dumps(status) + started.started.text
        assert (home.secrets / name).stat().st_mode & 0o077 == 0


def test_files_are_readable_only_by_the_owner(started: SharedPlatform) -> None:
    home = started.platform.home
    folders = [path for path in home.path.iterdir() if path.is_dir()]
    files = [home.log(name) for name in ("prefect", "mlflow", "hook", "worker-cpu")]
    assert not any(path.stat().st_mode & 0o077 for path in (home.path, *folders, *files))


def command_lines(home_id: str) -> list[str]:
    """Command lines of the platform's processes, without those that end meanwhile."""
    lines = []
    for process in tagged_processes(home_id):
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))
    return lines


def test_no_password_is_in_a_command_line(started: SharedPlatform) -> None:
    passwords = [started.platform.home.secret(name) for name in ("postgres", "prefect", "mlflow", "webhook")]
    lines = command_lines(started.platform.home.id)
    assert len(lines) >= len(SERVICES)
    assert all(passwords)
    assert not any(str(password) in line for password in passwords for line in lines)


def test_taken_port_is_replaced(started: SharedPlatform) -> None:
    assert not started.platform.addresses.mlflow_url.endswith(f":{started.taken_port}")
    assert f"port {started.taken_port} is taken" in started.started.text


def test_port_claimed_by_another_platform_is_replaced(started: SharedPlatform) -> None:
    assert not started.platform.addresses.serving_url.endswith(f":{started.reserved_port}")
    assert f"port {started.reserved_port} is taken: bento gets" in started.started.text


def test_each_tool_has_its_database(started: SharedPlatform) -> None:
    with psycopg.connect(started.platform.addresses.database_url) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        extensions = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
    assert {"duotempo", "prefect", "mlflow"} <= names
    assert {"vector", "pg_trgm"} <= extensions
    for name, table in (("prefect", "flow_run"), ("mlflow", "registered_models")):
        with psycopg.connect(started.platform.addresses.database_url, dbname=name) as connection:
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()


def test_telemetry_is_off(started: SharedPlatform) -> None:
    for name in SERVICES - {"postgres"}:
        environment = psutil.Process(pid(started.platform, name)).environ()
        assert environment["DO_NOT_TRACK"] == "1"
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert environment["HF_HUB_OFFLINE"] == "1"


def test_second_up_changes_nothing(started: SharedPlatform) -> None:
    before = started.platform.status()
    stages: list[str] = []
    with started.shell.inside():
        Platform(started.settings).up(stages.append)
    assert stages[0] == "the platform is already up"
    assert not any("deploying" in stage for stage in stages)
    assert started.platform.status() == before


def test_platform_process_recognises_the_embedded_database(started: SharedPlatform) -> None:
    url = started.platform.environment()["DUOTEMPO_DATABASE_URL"]
    inside = Platform(started.settings.model_copy(update={"database_url": url}))
    assert inside.status() == started.platform.status()
    assert inside.addresses == started.platform.addresses


def test_killed_postgres_recovers_with_its_rows(started: SharedPlatform) -> None:
    url = started.platform.addresses.database_url
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO users (user_id) VALUES ('ada') ON CONFLICT DO NOTHING")
    before = pid(started.platform, "postgres")
    assert before
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid(started.platform, "postgres") != before and healthy(started.platform))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT user_id FROM users").fetchall() == [("ada",)]


@pytest.mark.long
def test_webhook_recovers_when_killed_again_during_start(started: SharedPlatform) -> None:
    for _ in range(2):
        before = pid(started.platform, "hook")
        assert before
        os.kill(before, signal.SIGKILL)
        eventually(partial(recovered, started.platform, "hook", before))
    now = pid(started.platform, "hook")
    assert now
    eventually(started.platform.home.ready_file(now).is_file)


@pytest.mark.long
def test_killed_mlflow_recovers_and_restores_its_password(started: SharedPlatform) -> None:
    """MLflow's database has the password of an earlier home, which is replaced."""
    with psycopg.connect(started.platform.databases.url, dbname="mlflow") as connection:
        connection.execute("UPDATE users SET password_hash = %s", (generate_password_hash("of an earlier home"),))
    before = pid(started.platform, "mlflow")
    assert before
    children = psutil.Process(before).children(recursive=True)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: all(has_ended(child.pid) for child in children) and healthy(started.platform))
    assert pid(started.platform, "mlflow") != before
    assert registry.versions(started.platform.addresses.mlflow_url) == []


def pids(platform: Platform) -> dict[str, int | None]:
    """Process ids of all programs except the sentinel, including the address process."""
    return {name: process.pid for name, process in Supervisor(platform.home).processes().items() if name != "sentinel"}


def test_programs_survive_their_supervisor(started: SharedPlatform) -> None:
    platform, supervisor = started.platform, supervisor_pid(started.platform)
    before = pids(platform)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: supervisor_pid(platform) != supervisor and healthy(platform))
    assert pids(platform) == before
    now = command_lines(platform.home.id)
    assert sum("supervisord" in line for line in now) == 1
    assert sum("infra.processes.launch" in line for line in now) == len(before)
    log, killed = platform.home.log("postgres"), before["postgres"]
    written = log.stat().st_size
    assert killed
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: pids(platform)["postgres"] not in (None, killed) and healthy(platform))
    assert "Is another postmaster" not in log.read_text()[written:]


def test_workers_that_run_are_not_reported_while_prefect_is_down(started: SharedPlatform) -> None:
    platform = started.platform
    prefect = platform.status()["services"]["prefect"]["pid"]
    os.kill(prefect, signal.SIGSTOP)
    try:
        with started.shell.inside():
            findings = examine(platform)
    finally:
        os.kill(prefect, signal.SIGCONT)
    assert [problem.name for problem in findings.services] == ["prefect_down"]
    assert not findings.status["services"]["worker-cpu"]["healthy"], "its server cannot tell of it"
    eventually(lambda: healthy(platform))


@pytest.mark.long
def test_up_adopts_programs_after_supervisor_and_sentinel_die(started: SharedPlatform) -> None:
    platform, supervisor, before = started.platform, supervisor_pid(started.platform), pids(started.platform)
    sentinel = Supervisor(platform.home).processes()["sentinel"].pid
    assert sentinel
    for process_id in (sentinel, supervisor):
        os.kill(process_id, signal.SIGSTOP)
    for process_id in (sentinel, supervisor):
        os.kill(process_id, signal.SIGKILL)
    eventually(lambda: has_ended(sentinel) and has_ended(supervisor))
    assert not platform.is_up
    addresses = platform.addresses
    with started.shell.inside():
        findings = examine(platform)
        assert (findings.state, [problem.name for problem in findings.services]) == ("unwell", ["supervisor_down"])
        units.write_script(platform, os.environ)
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = ["/bin/sh", str(units.script(platform)), "up"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=True)
    assert "kept running without it" in done.stdout
    assert (platform.addresses, pids(platform)) == (addresses, before)
    assert healthy(platform)

    adopted = pid(platform, "hook")
    assert adopted
    os.kill(adopted, signal.SIGKILL)
    eventually(partial(recovered, platform, "hook", adopted))


SERVICE = """
import os
from functools import partial
from pathlib import Path

import bentoml

Path(os.environ.get("DUOTEMPO_READY_FILE", os.devnull)).touch()

@bentoml.service
class Tiny:
    @bentoml.api
    def hello(self) -> str:
        return "hello"
"""


def build_bento(folder: Path, environment: dict[str, str]) -> str:
    folder.mkdir()
    (folder / "tiny.py").write_text(SERVICE)
    script = "import bentoml; print('TAG', bentoml.build('tiny:Tiny', name='tiny', version='1').tag)"
    built = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    return built.stdout.split("TAG ")[1].split()[0]


def test_broken_bento_does_not_replace_the_served_one(started: SharedPlatform, tmp_path: Path) -> None:
    platform = started.platform
    with pytest.raises(PlatformError, match="bento-1 does not start"):
        platform.serve("nothing:1")
    assert platform.served() is None
    assert "bento" not in platform.status()["services"]

    tag = build_bento(tmp_path / "tiny", platform.environment())
    platform.serve(tag)
    assert get(f"{platform.addresses.serving_url}/readyz") == "\n"

    with pytest.raises(PlatformError, match=r"bento-2.log"):
        platform.serve("nothing:2")
    assert platform.served() == {"bento_tag": tag, "model_version": "unknown"}, "it names no version of a model"
    assert platform.status()["services"]["bento"]["healthy"]


def test_down_leaves_no_process_and_no_port(started: SharedPlatform) -> None:
    ports = started.platform.home.state.ports
    started.shell.run("down", apart=True)
    assert tagged_processes(started.platform.home.id) == []
    assert all(is_port_free(port) for port in ports.values())
    status = started.shell.status()
    assert not any(service["healthy"] for service in status["services"].values())
    assert (status["exit"], status["state"]) == (3, "down")
    output = started.shell.run("status", fails=3).out
    assert "the platform is down" in output and "serving version" not in output


def test_up_after_down_restores_addresses_and_data(started: SharedPlatform) -> None:
    platform, before = started.platform, started.platform.status()
    addresses = platform.addresses
    platform.down()
    assert tagged_processes(platform.home.id) == []
    assert all(is_port_free(port) for port in platform.home.state.ports.values())
    stopped = platform.status()["services"]
    assert set(stopped) == set(before["services"])
    assert not any(service["healthy"] or service["pid"] for service in stopped.values())
    platform.down()

    with started.shell.inside():
        platform.up()
    assert healthy(platform)
    assert platform.addresses == addresses
    assert platform.served() == before["served"]
    with psycopg.connect(addresses.database_url) as connection:
        assert connection.execute("SELECT to_regclass('promotions') IS NOT NULL").fetchone() == (True,)


def test_platform_before_first_start(tmp_path: Path) -> None:
    platform = Platform(Settings(home=tmp_path / "home", database_url=None), make_project(tmp_path / "project"))
    services = platform.status()["services"]
    assert set(services) == SERVICES
    assert not any(service["healthy"] or service["pid"] for service in services.values())
    platform.down()
    assert not (tmp_path / "home").exists()
    with pytest.raises(PlatformError, match="duotempo up"):
        platform.addresses  # noqa: B018
    with pytest.raises(PlatformError, match="duotempo up"):
        platform.serve("tiny:1")


def test_external_database_that_is_down_is_named(tmp_path: Path) -> None:
    ports = free_ports()
    url = f"postgresql://me:hush@127.0.0.1:{ports.postgres_port}/shop"
    settings = Settings(home=tmp_path / "home", database_url=url, platform=ports)
    platform = Platform(settings, make_project(tmp_path / "project"))
    with pytest.raises(PlatformError, match="DUOTEMPO_DATABASE_URL") as error:
        platform.up()
    assert f"127.0.0.1:{ports.postgres_port}" in str(error.value)
    assert "hush" not in str(error.value)
    assert tagged_processes(platform.home.id) == []
