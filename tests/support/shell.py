"""One platform and its command line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psutil
import psycopg
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
)
from prefect.settings.context import temporary_settings
from typer.testing import CliRunner

from cli.main import app
from components.settings import Settings
from infra.local.platform import Platform
from infra.processes.orphans import environment_of, tagged
from tests.support.command_line import Answer
from tests.support.prefect import Prefect

PROJECT = Path(__file__).parents[2]
COMMAND_TIMEOUT_SECONDS = 3600.0
USER = "顾客001"
"""Somebody of the generated dataset."""


class Shell:
    """`run` is what a person types; the rest looks at what came of it."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self.platform = Platform(settings)
        self.home = self.platform.home.path
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DUOTEMPO_", "PREFECT_", "MLFLOW_", "BENTOML_"))
        }
        own = {"DUOTEMPO_HOME": str(settings.home), "DUOTEMPO_CACHE": str(settings.cache), "COLUMNS": "300"}
        self.environment = {**inherited, **own, **environment}

    def run(self, *words: str | Path, fails: int = 0, apart: bool = False) -> Answer:
        """Runs `duotempo WORDS`, which ends with 0, or with the code that it `fails` with; never with a traceback.

        apart: in a process of its own.
        """
        run = self._process if apart else self._call
        done = run(*map(str, words))
        assert done.code == int(fails), f"duotempo {words}: {done}"
        assert "Traceback" not in done.text
        return done

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Gives this process the environment of the shell and of its platform, and Prefect's client its server."""
        home, given = self.platform.home.prefect, self.platform.environment()
        with patch.dict(os.environ, {**self.environment, **given}, clear=True):
            settings = {
                PREFECT_API_URL: given["PREFECT_API_URL"],
                PREFECT_API_AUTH_STRING: given["PREFECT_API_AUTH_STRING"],
                PREFECT_HOME: home,
                PREFECT_LOCAL_STORAGE_PATH: home / "storage",
                PREFECT_LOGGING_TO_API_ENABLED: False,  # or the last lines wait, at the end, for a server that is gone
            }
            with temporary_settings(settings):
                yield

    def status(self) -> dict[str, Any]:
        """Of a platform that is well, or not, or down: the code that the command ended with is `exit`."""
        done = self._call("status", "--json")
        return {**json.loads(done.out), "exit": done.code}

    @cached_property
    def prefect(self) -> Prefect:
        return Prefect(self.platform.environment())

    def post(self, path: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
        """What the served Bento answers."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.post(f"{self.platform.addresses.serving_url}{path}", json=body, headers=headers, timeout=60)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; none of a statement that returns none."""
        with psycopg.connect(self.platform.database_url) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def flow_run_processes(self, run_id: str) -> list[psutil.Process]:
        """The processes that work on a flow run."""
        return [p for p in tagged(self.platform.home.id) if environment_of(p).get("PREFECT__FLOW_RUN_ID") == run_id]

    @property
    def mlflow_url(self) -> str:
        return self.platform.addresses.mlflow_url

    def _process(self, *words: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words], cwd=PROJECT, env=self.environment,
            capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def _call(self, *words: str) -> Answer:
        with self.inside():
            result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)
