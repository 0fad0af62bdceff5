"""One platform and its command line, each command in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from components.settings import Settings
from infra.local.platform import Platform
from infra.local.sweep import tagged

PROJECT = Path(__file__).parents[2]
PATIENCE = 900.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join(f"{self.out} {self.err}".split())


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

    def run(self, *words: str | Path, fails: bool = False) -> Done:
        """Runs `duotempo WORDS`, which ends with 0, or with 1 where it `fails`; never with a traceback."""
        done = self._process([sys.executable, "-m", "cli.main", *map(str, words)], self.environment)
        assert done.code == int(fails), f"duotempo {words}: {done}"
        assert "Traceback" not in done.text
        return done

    def prefect_command(self, *words: str) -> Done:
        """Runs `prefect WORDS` on the platform's server."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        return self._process(command, {**self.environment, **self.platform.environment()})

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json").out))

    def prefect(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What Prefect's server knows."""
        return list(self._post(f"{self.platform.addresses.prefect_api_url}{path}", body))

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """The runs of a flow, newest first."""
        wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_DESC"}
        return self.prefect("/flow_runs/filter", wanted)

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The artifacts of a run by their keys."""
        found = self.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
        return {artifact["key"]: artifact for artifact in found}

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the served Bento answers."""
        return dict(self._post(f"{self.platform.addresses.serving_url}{path}", body))

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; none of a statement that returns none."""
        with psycopg.connect(self.platform.database_url) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def processes(self, run_id: str) -> list[psutil.Process]:
        """The processes that work on a flow run."""
        return [p for p in tagged(self.platform.home.id) if p.environ().get("PREFECT__FLOW_RUN_ID") == run_id]

    @cached_property
    def mlflow_url(self) -> str:
        return self.platform.addresses.mlflow_url

    def _process(self, command: list[str], environment: dict[str, str]) -> Done:
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(url, json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()


USER = "顾客001"
