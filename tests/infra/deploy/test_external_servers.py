"""The serving host with an external Prefect and MLflow, as in compose and Kubernetes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components import registry
from components.settings import PlatformSettings, Settings
from components.store.engine import make_engine
from infra.home import logins
from infra.local.platform import Platform
from infra.processes.supervisor import Supervisor
from tests.support.platforms import SharedPlatform
from tests.support.ports import free_ports
from tests.support.promotion import register, served_version
from tests.support.toy_data import fill_store, tiny_bundle
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]


@pytest.fixture(scope="module")
def platform(
    shared_platform: SharedPlatform, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A serving host that uses the servers of the session's platform, whose other programs are stopped."""
    shared_platform.renew()
    others = Supervisor(shared_platform.platform.home)
    for name in ("hook", "encoder", "worker-cpu", "worker-gpu"):
        others.stop_program(name)
    folder, ports, at = tmp_path_factory.mktemp("outside"), free_ports(), shared_platform.platform.addresses
    settings = Settings(
        home=folder / "home", cache=folder / "cache", database_url=database,
        platform=PlatformSettings(
            host="0.0.0.0", prefect_api_url=at.prefect_api_url, mlflow_url=at.mlflow_url,
            hook_url=f"http://localhost:{ports.hook_port}", schedules=False,
            hook_port=ports.hook_port, serving_port=ports.serving_port,
        ),
    )  # fmt: skip
    started = Platform(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(logins.PREFECT, shared_platform.platform.environment()[logins.PREFECT])
        for name, value in settings.platform.model_dump(exclude_none=True).items():
            patch.setenv(f"DUOTEMPO_PLATFORM__{name.upper()}", str(value))
        try:
            started.up()
            yield started
        finally:
            prefect = shared_platform.shell.prefect
            eventually(lambda: all(run["state_type"] == "COMPLETED" for run in prefect.runs("deploy")), 120)
            started.down()
            started.remove()
    MlflowClient(at.mlflow_url).delete_registered_model(registry.NAME)  # else the other receiver promotes it
    with shared_platform.shell.inside():
        shared_platform.platform.up()


def test_serving_host_runs_only_its_own_services(platform: Platform) -> None:
    services = platform.status()["services"]
    assert all(service["healthy"] for service in services.values())
    assert {name for name, service in services.items() if service["pid"]} == {"hook", "encoder", "worker-deploy"}
    assert not (platform.home.path / "postgres").exists()


def test_alias_in_external_registry_promotes(platform: Platform, tmp_path: Path) -> None:
    engine = make_engine(platform.database_url)
    fill_store(engine, tiny_bundle())
    engine.dispose()
    mlflow = platform.addresses.mlflow_url
    register(mlflow, tmp_path / "1")
    MlflowClient(mlflow).set_registered_model_alias(registry.NAME, "champion", "1")
    eventually(platform.served, 180)
    assert served_version(platform) == "1"
