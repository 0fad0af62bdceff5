"""Fixtures of the end-to-end tests, which run the whole loop on the session's platform."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from components.core.columns import Columns
from components.embedding.encoder import ENGLISH
from tests.support.command_result import Answer
from tests.support.platforms import SharedPlatform, preset
from tests.support.shell import Shell


@pytest.fixture(scope="package")
def shell(shared_platform: SharedPlatform) -> Shell:
    quick = preset("demo")
    quick["fusion"]["epochs"], quick["evaluation"]["bootstrap"] = 3, 50
    quick["embedding"] = {"model": ENGLISH}  # falls back for these texts to the multilingual one, which is kept loaded
    shared_platform.renew(quick)
    return shared_platform.shell


@pytest.fixture(scope="package")
def up(shell: Shell, shared_platform: SharedPlatform) -> Answer:
    """The output of `duotempo up`, run while another program listened on MLflow's default port."""
    return shared_platform.started


@pytest.fixture(scope="package")
def folder(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated dataset, shifted so that its last event was an hour ago."""
    source = Path(shell.run("data", "get", "chinese-sample").out.splitlines()[-1])
    events = pd.read_parquet(source / "interactions.parquet")
    hour_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp())
    events[Columns.TIMESTAMP] += hour_ago - events[Columns.TIMESTAMP].max()
    shop = tmp_path_factory.mktemp("data") / "shop"
    shop.mkdir()
    events.to_parquet(shop / "interactions.parquet", index=False)
    (shop / "items.parquet").write_bytes((source / "items.parquet").read_bytes())
    return shop


@pytest.fixture(scope="package")
def ingested(shell: Shell, folder: Path) -> Answer:
    return shell.run("ingest", folder)


@pytest.fixture(scope="package")
def first(shell: Shell, ingested: Answer) -> Answer:
    """The output of the first `retrain --wait`."""
    return shell.run("retrain", "--wait", apart=True)
