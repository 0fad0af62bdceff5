"""The command line as a person meets it: real commands, an environment of their own."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.main import app

LAST = 1_717_200_000
"""2024-06-01 00:00 UTC."""
DAY = 86_400


@dataclass(frozen=True)
class Answer:
    """What a command printed, with its lines joined, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join(f"{self.out} {self.err}".split())


Run = Callable[..., Answer]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def duotempo(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder; further keywords are environment variables. No traceback ever comes out."""
    monkeypatch.chdir(tmp_path)
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


def world(users: int = 24, items: int = 20, visits: int = 8) -> pd.DataFrame:
    """Interactions of users who each go through items of one parity, an hour between two events."""
    random = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{2 * (place % (items // 2)) + user % 2}", LAST - DAY * (step % 20) - 3600 * step - user, "like")
        for user in range(users)
        for step, place in enumerate(random.permutation(items // 2)[:visits])
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"]).assign(value=np.nan)


def catalogue(items: int = 20) -> pd.DataFrame:
    """Items whose text tells their parity."""
    return pd.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(items)],
            "title": [f"{('garden', 'kitchen')[number % 2]} tool {number}" for number in range(items)],
            "category": [("outdoor", "indoor")[number % 2] for number in range(items)],
            "description": "",
        }
    )


def write_dataset(
    folder: Path, events: pd.DataFrame, items: pd.DataFrame | None = None, text: list[str] | None = None
) -> Path:
    """A dataset folder."""
    folder.mkdir(parents=True)
    events.to_parquet(folder / "interactions.parquet", index=False)
    (catalogue() if items is None else items).to_parquet(folder / "items.parquet", index=False)
    if text is not None:
        (folder / "dataset.json").write_text(json.dumps({"text": text}))
    return folder
