"""What tests of a platform need beside it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from components.settings import Settings
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
