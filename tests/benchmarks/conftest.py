"""Tiny datasets under the names of public ones, and settings that train within a second."""

from pathlib import Path

import pandas as pd
import pytest

from components.settings import Settings
from tests.support.datasets import catalogue, toy_events, write_dataset


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny planted ml-100k."""
    folder = tmp_path_factory.mktemp("data_folder")
    last = toy_events().groupby("user_id")["timestamp"].max()
    late = pd.DataFrame({"user_id": last.index[:3], "item_id": [f"new{n}" for n in range(3)], "event": "like"})
    events = pd.concat([toy_events(), late.assign(timestamp=last.max() + 1)], ignore_index=True)
    news = pd.DataFrame({"item_id": late["item_id"], "title": "garden novelty", "category": "outdoor"})
    write_dataset(folder / "ml-100k", events, pd.concat([catalogue(), news]).fillna(""))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(data_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two epochs of a narrow model, independent of the environment."""
    monkeypatch.setenv("DUOTEMPO_PRESET", "demo")
    settings = Settings(data_dir=data_folder, cache=cache)
    settings.fusion.epochs, settings.fusion.width, settings.evaluation.bootstrap = 2, 16, 20
    return settings
