"""One platform for the tests of this folder, which run in the order of their files, up to `duotempo down`."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from components.columns import Columns
from components.settings import Settings
from tests.support.platforms import remove_data
from tests.support.ports import free_ports
from tests.support.shell import Done, Shell

QUICK = {
    "DUOTEMPO_PRESET": "demo",
    "DUOTEMPO_FUSION__EPOCHS": "3",
    "DUOTEMPO_EVALUATION__BOOTSTRAP": "50",
}


@pytest.fixture(scope="package")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("loop")
    settings = Settings(home=folder / "home", cache=folder / "cache", database_url=None, platform=free_ports())
    ports = {f"DUOTEMPO_PLATFORM__{name}": str(port) for name, port in settings.platform if port is not None}
    shell = Shell(settings, **QUICK, **{name.upper(): port for name, port in ports.items()})
    try:
        yield shell
    finally:
        shell.platform.down()
        remove_data(shell.platform.home)


@pytest.fixture(scope="package")
def up(shell: Shell) -> Done:
    """The platform, started while another program listens on the usual port of MLflow."""
    with socket.create_server(("127.0.0.1", int(shell.environment["DUOTEMPO_PLATFORM__MLFLOW_PORT"]))):
        return shell.run("up")


@pytest.fixture(scope="package")
def folder(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated dataset, its last event an hour ago."""
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
def ingested(shell: Shell, up: Done, folder: Path) -> Done:
    return shell.run("ingest", folder)


@pytest.fixture(scope="package")
def first(shell: Shell, ingested: Done) -> Done:
    """The first retraining, waited for."""
    return shell.run("retrain", "--wait")
