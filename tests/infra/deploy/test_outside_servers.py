"""The serving host beside a Prefect and an MLflow that somebody else runs, as in compose and Kubernetes."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components import registry
from components.settings import PlatformSettings, Settings
from components.store.engine import make_engine
from infra.local.databases import outside
from infra.local.environment import QUIET
from infra.local.health import http
from infra.local.platform import Platform
from tests.support.ports import free_ports
from tests.support.promotion import register, served_version
from tests.support.toy_data import fill_store, tiny_bundle

START_SECONDS = 90.0
PROMOTION_SECONDS = 180.0
pytestmark = pytest.mark.timeout(600)


@contextmanager
def server(arguments: list[str], health: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env={**os.environ, **QUIET, **environment}, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while not http(health):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def platform(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("outside")
    environment = {**os.environ, "DUOTEMPO_DATABASE_URL": database}
    subprocess.run([sys.executable, "-m", "infra.local.databases"], env=environment, check=True)
    databases, ports = outside(database), free_ports()
    prefect, mlflow = f"http://127.0.0.1:{ports.prefect_port}/api", f"http://127.0.0.1:{ports.mlflow_port}"
    address = ["--host", "127.0.0.1", "--port"]
    prefects = {"PREFECT_API_DATABASE_CONNECTION_URL": databases.prefect, "PREFECT_HOME": str(folder / "prefect")}
    mlflows = {
        "MLFLOW_BACKEND_STORE_URI": databases.mlflow,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    }
    settings = Settings(
        home=folder / "home", cache=folder / "cache", database_url=database,
        platform=PlatformSettings(
            host="0.0.0.0", prefect_api_url=prefect, mlflow_url=mlflow,
            hook_url=f"http://localhost:{ports.hook_port}",
            hook_port=ports.hook_port, serving_port=ports.serving_port,
        ),
    )  # fmt: skip
    started = Platform(settings)
    artifacts = ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    with (
        server(["prefect", "server", "start", *address, str(ports.prefect_port)], f"{prefect}/health", prefects,
               folder / "prefect.log"),
        server(["mlflow", "server", *address, str(ports.mlflow_port), *artifacts], f"{mlflow}/health", mlflows,
               folder / "mlflow.log"),
        pytest.MonkeyPatch.context() as patch,
    ):  # fmt: skip
        for name, value in settings.platform.model_dump(exclude_none=True).items():
            patch.setenv(f"DUOTEMPO_PLATFORM__{name.upper()}", str(value))
        try:
            started.up()
            yield started
        finally:
            started.down()
            started.remove()


def test_only_what_serves_runs_here(platform: Platform) -> None:
    services = platform.status()["services"]
    assert all(service["healthy"] for service in services.values())
    assert {name for name, service in services.items() if service["pid"]} == {"hook", "encoder", "worker-deploy"}
    assert not (platform.home.path / "postgres").exists()


def test_the_alias_in_the_outside_registry_promotes(platform: Platform, tmp_path: Path) -> None:
    engine = make_engine(platform.database_url)
    fill_store(engine, tiny_bundle())
    engine.dispose()
    mlflow = platform.addresses.mlflow_url
    register(mlflow, tmp_path / "1")
    MlflowClient(mlflow).set_registered_model_alias(registry.NAME, "champion", "1")
    deadline = time.monotonic() + PROMOTION_SECONDS
    while platform.served() is None:
        assert time.monotonic() < deadline, platform.home.log("hook").read_text()
        time.sleep(0.5)
    assert served_version(platform) == "1"
