"""The session's platform: started once, and reset for each module or folder of tests that uses it."""

import os
import shutil
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import tomli_w
from mlflow import MlflowClient
from prefect.events.worker import EventsWorker

from components.embedding.encoder import MULTILINGUAL
from components.settings import Settings
from components.settings.section import PRESETS
from infra.home import logins, postgres
from infra.home.home import Home
from infra.local.platform import Platform
from infra.orchestration.deployments import Deployments
from infra.processes.address import bound, claimed
from tests.support.command_result import Answer
from tests.support.ports import free_ports
from tests.support.shell import Shell
from tests.support.waiting import eventually

FLOW = """
import os

from prefect import flow, task


@task
def look():
    return os.environ["DUOTEMPO_DATABASE_URL"]


@flow(persist_result=True, result_serializer="json")
def hello(fail: bool = False):
    if fail:
        raise ValueError("this went wrong")
    look()
    return {"folder": os.getcwd(), "home": os.environ["DUOTEMPO_HOME"], "greeting": os.environ.get("GREETING")}
"""
PREFECT = """
name: tiny
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{ $DUOTEMPO_PROJECT }}"
deployments:
  - name: local
    entrypoint: flows/hello.py:hello
    work_pool: {name: cpu}
  - name: gpu
    entrypoint: flows/hello.py:hello
    work_pool: {name: gpu, work_queue_name: embeddings}
"""
BASE_SETTINGS = {"embedding": {"model": MULTILINGUAL}}
"""Default settings of all tests, by section: this encoder is loaded already, so it starts at once."""
FLOW_OUTPUT_FOLDERS = ("snapshots", "runs", "bundles", "batch", "bentoml", "presets", "encoders", "spool")
"""Folders in a platform's home that flows and the service write."""


def make_project(folder: Path) -> Path:
    """Writes a Prefect project with one flow, `hello`."""
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "hello.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(PREFECT)
    return folder


def remove_data(home: Home) -> None:
    """Removes the data that Postgres keeps outside the home when run as root."""
    shutil.rmtree(postgres.ELSEWHERE / home.id, ignore_errors=True)


def preset(name: str) -> dict[str, Any]:
    """The settings of a packaged preset, by section."""
    return tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


class SharedPlatform:
    """A real platform on free ports, in a folder with a long name and special characters.

    Its processes read their settings from `settings_file`.
    """

    def __init__(self, folder: Path) -> None:
        home = folder / "a 100% deep home" / ("x" * 60) / "demo"
        self.settings = Settings(home=home, cache=folder / "cache", database_url=None, platform=free_ports())
        self.settings_file = folder / "duotempo.toml"
        self.write_settings({})
        given = {name: str(value) for name, value in self.settings.platform if value is not None}
        variables = {f"DUOTEMPO_PLATFORM__{name.upper()}": value for name, value in given.items()}
        self.shell = Shell(self.settings, **variables, DUOTEMPO_SETTINGS_FILE=str(self.settings_file))
        self.taken_port = self.settings.platform.mlflow_port
        """MLflow's default port, taken by another program at the start."""
        self.reserved_port = self.settings.platform.serving_port
        """The service's default port, reserved by another platform at the start, with no listener."""
        self.started = self._start()
        self._sign_in()

    @property
    def platform(self) -> Platform:
        return self.shell.platform

    def _start(self) -> Answer:
        with (
            socket.create_server(("127.0.0.1", self.taken_port)),
            claimed(Home(self.shell.home.with_name("other")), self.reserved_port),
            bound("127.0.0.1", self.reserved_port),
        ):
            return self.shell.run("up", apart=True)

    def _sign_in(self) -> None:
        """Gives this process MLflow's login for the session."""
        given = self.platform.environment()
        os.environ.update({name: given[name] for name in (logins.MLFLOW_USER, logins.MLFLOW_PASSWORD)})

    def stop(self) -> None:
        EventsWorker.drain_all(timeout=10)  # else the process hangs at exit, sending to a stopped server
        self.platform.down()
        remove_data(self.platform.home)

    def deploy(self, project: Path) -> None:
        """Registers the deployments of another project with this platform's Prefect."""
        Deployments(project, seconds=600).deploy({**self.shell.environment, **self.platform.environment()})

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Sets the settings that flow runs, a running canary and new Bentos read, on top of BASE_SETTINGS."""
        partial = self.settings_file.with_suffix(".part")
        partial.write_text(tomli_w.dumps({**BASE_SETTINGS, **settings}))
        partial.replace(self.settings_file)

    def renew(self, settings: Mapping[str, Any] | None = None) -> None:
        """Resets the platform: empty store and registry, no flow runs, nothing served. Starts it if it is stopped."""
        self.write_settings({})
        if not self.platform.is_up:
            with self.shell.inside():
                self.platform.up()
        self._empty_prefect()
        self._empty_registry()
        self.platform._put(bento=None)
        self._empty_store()
        for name in FLOW_OUTPUT_FOLDERS:
            shutil.rmtree(self.platform.home.path / name, ignore_errors=True)
        self.write_settings(settings or {})

    def _empty_prefect(self) -> None:
        prefect = self.shell.prefect

        def runs(*states: str) -> list[str]:
            wanted = {"flow_runs": {"state": {"type": {"any_": states}}}} if states else {}
            return [run["id"] for run in prefect.ask("/flow_runs/filter", wanted)]

        eventually(lambda: not runs("PENDING", "RUNNING", "CANCELLING"), 120)
        while ids := runs():
            for run_id in ids:
                prefect.client.delete(f"/flow_runs/{run_id}").raise_for_status()

    def _empty_registry(self) -> None:
        client = MlflowClient(self.platform.addresses.mlflow_url)
        for model in client.search_registered_models():
            client.delete_registered_model(model.name)

    def _empty_store(self) -> None:
        """Truncates all tables, with the triggers off that protect `promotions`."""
        with psycopg.connect(self.platform.database_url) as connection:
            connection.execute("SET session_replication_role = replica")
            query = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
            tables = {name for (name,) in connection.execute(query)} - {"alembic_version"}
            connection.execute(f"TRUNCATE {', '.join(sorted(tables))} RESTART IDENTITY CASCADE".encode())
