"""One platform for the promotion tests: Postgres, Prefect and its workers, MLflow, the webhook, and seven versions."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from components.settings import Settings
from components.store.engine import make_engine
from infra.deploy.promotion import promote
from infra.local.platform import Platform
from tests.support.failing_bundle import fragile
from tests.support.platforms import SharedPlatform
from tests.support.promotion import (
    BROKEN,
    FAILED_GATE,
    FRAGILE,
    NEXT,
    OF_OTHER_CODE,
    SHORT_CANARY_SECONDS,
    SOUND,
    Canary,
    canary_settings,
    register,
    register_without_bundle,
)
from tests.support.toy_data import fill_store, tiny_bundle


@pytest.fixture(scope="package")
def platform(shared_platform: SharedPlatform) -> Iterator[Platform]:
    """A platform whose canaries are very short, unless a test makes them longer."""
    shared_platform.renew(canary_settings(SHORT_CANARY_SECONDS))
    with shared_platform.shell.inside():
        yield shared_platform.platform


@pytest.fixture(scope="package")
def settings(platform: Platform) -> Settings:
    return platform.settings


@pytest.fixture
def canary(shared_platform: SharedPlatform) -> Iterator[Canary]:
    """Sets the duration of canaries in seconds, including a running one."""
    yield lambda seconds: shared_platform.write_settings(canary_settings(seconds))
    shared_platform.write_settings(canary_settings(SHORT_CANARY_SECONDS))


@pytest.fixture(scope="package")
def engine(platform: Platform) -> Iterator[Engine]:
    engine = make_engine(platform.addresses.database_url)
    fill_store(engine, tiny_bundle())
    yield engine
    engine.dispose()


@pytest.fixture(scope="package")
def mlflow(settings: Settings, platform: Platform, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a registry with seven versions, the first of which serves."""
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
