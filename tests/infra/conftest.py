"""One platform for all tests of this folder: real, on free ports, in a folder of a difficult name."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from components.settings import PlatformSettings, Settings
from infra.local import postgres
from infra.local.home import Home
from infra.local.platform import Platform

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
    return {"folder": os.getcwd(), "home": os.environ["DUOTEMPO_HOME"]}
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


def make_project(folder: Path) -> Path:
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "hello.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(PREFECT)
    return folder


def free_ports() -> PlatformSettings:
    """Of a platform that no schedule disturbs."""
    names = ("postgres_port", "prefect_port", "mlflow_port", "hook_port", "serving_port")
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
    return PlatformSettings(**ports, schedules=False)


def remove_data(home: Home) -> None:
    """What root's Postgres keeps outside of the home."""
    shutil.rmtree(postgres.ELSEWHERE / home.id, ignore_errors=True)


@dataclass
class Started:
    platform: Platform
    settings: Settings
    project: Path
    taken_port: int
    """MLflow's usual port, on which another program listens."""
    stages: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("platform")
    settings = Settings(home=folder / "a 100% deep home" / ("x" * 60), database_url=None, platform=free_ports())
    with socket.create_server(("127.0.0.1", settings.platform.mlflow_port)):
        project = make_project(folder / "project")
        platform = Platform(settings, project)
        started = Started(platform, settings, project, settings.platform.mlflow_port)
        try:
            platform.up(started.stages.append)
            yield started
        finally:
            platform.down()
            remove_data(platform.home)
