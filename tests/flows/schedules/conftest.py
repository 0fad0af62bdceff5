"""One platform for the tests of schedules, reruns, workers and retention, and a small shop in it."""

from collections.abc import Iterator
from typing import Any

import pytest

from components.settings import Settings
from components.store.engine import make_engine
from infra.client import run_deployment
from infra.local.platform import Platform
from tests.support.ports import free_ports
from tests.support.schedules import QUICK, World, fill


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(f"DUOTEMPO_{name}", str(value))
        settings = Settings(
            home=tmp_path_factory.mktemp("home"), cache=tmp_path_factory.mktemp("cache"), platform=free_ports()
        )
        platform = Platform(settings)
        try:
            platform.up()
            for name, value in platform.environment().items():
                patch.setenv(name, value)
            engine = make_engine(platform.database_url)
            yield World(platform, settings, engine)
            engine.dispose()
        finally:
            platform.down()
            platform.remove()


@pytest.fixture(scope="package")
def first(world: World) -> dict[str, Any]:
    """The first retraining of the shop."""
    fill(world)
    return dict(run_deployment("retrain/local", {}, timeout=400))
