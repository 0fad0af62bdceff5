"""Fixtures for command-line tests: real commands in a clean environment."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.console import err, out
from cli.main import app
from tests.support.command_result import Answer, Run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def duotempo(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder; keywords are environment variables. Asserts that it prints no traceback."""
    monkeypatch.chdir(tmp_path)
    for console in (out, err):
        monkeypatch.setattr(console, "width", 400)
    clean = {name: None for name in os.environ if name.startswith(("DUOTEMPO_", "PREFECT_", "MLFLOW_"))}
    usual = {"DUOTEMPO_HOME": str(tmp_path / "home"), "DUOTEMPO_CACHE": str(cache), "COLUMNS": "400"}

    def run(*arguments: str | Path, **environment: str) -> Answer:
        result = CliRunner(env={**clean, **usual, **environment}).invoke(app, [str(part) for part in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in answer.text
        return answer

    return run
