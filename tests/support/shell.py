"""A platform and its command line."""

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
from infra.processes.orphans import environment_of, tagged_processes
from tests.support.command_result import Answer
from tests.support.prefect import Prefect

PROJECT = Path(__file__).parents[2]
COMMAND_TIMEOUT_SECONDS = 3600.0
USER = "顾客001"
"""A user of the generated dataset."""


class Shell:
    """Runs commands on a platform as a user would (`run`), and inspects the results."""

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
        """Runs `duotempo WORDS`, and asserts its exit code and that it printed no traceback.

        Args:
            fails: The expected exit code.
            apart: Whether to run it in its own process.
        """
        run = self._process if apart else self._call
        done = run(*map(str, words))
        assert done.code == int(fails), f"duotempo {words}: {done}"
        assert "Traceback" not in done.text
        return done

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Applies the environment of the shell and its platform to this process, and configures Prefect's client."""
        home, given = self.platform.home.prefect, self.platform.environment()
        with patch.dict(os.environ, {**self.environment, **given}, clear=True):
            settings = {
                PREFECT_API_URL: given["PREFECT_API_URL"],
                PREFECT_API_AUTH_STRING: given["PREFECT_API_AUTH_STRING"],
                PREFECT_HOME: home,
                PREFECT_LOCAL_STORAGE_PATH: home / "storage",
                PREFECT_LOGGING_TO_API_ENABLED: False,  # else it hangs at exit, sending logs to a stopped server
            }
            with temporary_settings(settings):
                yield

    def status(self) -> dict[str, Any]:
        """The output of `duotempo status --json`, plus the command's exit code as `exit`."""
        done = self._call("status", "--json")
        return {**json.loads(done.out), "exit": done.code}

    @cached_property
    def prefect(self) -> Prefect:
        return Prefect(self.platform.environment())

    def post(self, path: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
        """Posts to the served Bento and returns its JSON."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.post(f"{self.platform.addresses.serving_url}{path}", json=body, headers=headers, timeout=60)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; empty for a statement without rows."""
        with psycopg.connect(self.platform.database_url) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def flow_run_processes(self, run_id: str) -> list[psutil.Process]:
        """The processes that execute a flow run."""
        return [
            p
            for p in tagged_processes(self.platform.home.id)
            if environment_of(p).get("PREFECT__FLOW_RUN_ID") == run_id
        ]

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
