"""One platform for the tests of promotion: Postgres, Prefect and its workers, MLflow, the hook, and seven versions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from components.settings import Settings
from components.store.engine import make_engine
from infra.local.platform import Platform
from infra.promotion import promote
from tests.support.fragile_bundle import fragile
from tests.support.ports import free_ports
from tests.support.promotion import (
    BROKEN,
    FAILED_GATE,
    FRAGILE,
    NEXT,
    OF_OTHER_CODE,
    SOUND,
    Canary,
    register,
    register_without_bundle,
    write_canary,
)
from tests.support.toy_data import fill_store, tiny_bundle


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("home"),
        cache=tmp_path_factory.mktemp("cache"),
        platform=free_ports(),
    )


@pytest.fixture(scope="package")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each deployment reads anew: at first there is hardly a canary."""
    file = tmp_path_factory.mktemp("settings") / "duotempo.toml"
    write_canary(file, 1.0)
    return file


@pytest.fixture
def canary(settings_file: Path) -> Iterator[Canary]:
    """Sets how long the canaries of a test are."""
    yield lambda seconds: write_canary(settings_file, seconds)
    write_canary(settings_file, 1.0)


@pytest.fixture(scope="package")
def platform(settings: Settings, settings_file: Path) -> Iterator[Platform]:
    platform = Platform(settings)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DUOTEMPO_SETTINGS_FILE", str(settings_file))
            platform.up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", platform.addresses.prefect_api_url)
            yield platform
    finally:
        platform.down()
        platform.remove()


@pytest.fixture(scope="package")
def engine(platform: Platform) -> Iterator[Engine]:
    engine = make_engine(platform.addresses.database_url)
    fill_store(engine, tiny_bundle())
    yield engine
    engine.dispose()


@pytest.fixture(scope="package")
def mlflow(settings: Settings, platform: Platform, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The registry with seven versions, of which the first serves."""
    address = platform.addresses.mlflow_url
    folder = tmp_path_factory.mktemp("versions")
    register(address, folder / SOUND)
    register(address, folder / FAILED_GATE, reasons=["below popularity"])
    register(address, folder / BROKEN, without="history")
    register(address, folder / NEXT)
    register(address, folder / OF_OTHER_CODE, schema=99)
    register_without_bundle(MlflowClient(address))
    register(address, folder / FRAGILE, bundle=fragile(tiny_bundle()))
    promote(SOUND, settings=settings, actor="ann", reason="the first")
    return address
