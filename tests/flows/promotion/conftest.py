"""One platform for the tests of promotion: Postgres, Prefect and its workers, MLflow, the hook, and seven versions."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from components import registry
from components.bundle import SCHEMA_VERSION, Bundle
from components.settings import Settings
from components.store.engine import make_engine
from components.store.promotions import list_promotions
from infra.local.platform import Platform
from infra.promotion import promote
from tests.fragile import fragile
from tests.infra.conftest import free_ports
from tests.worlds import fill_store, tiny_bundle

SOUND, FAILED_GATE, BROKEN, NEXT, OF_OTHER_CODE, WITHOUT_BUNDLE, FRAGILE = "1", "2", "3", "4", "5", "6", "7"
Canary = Callable[[float], None]


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


def write_canary(file: Path, seconds: float, **more: float) -> None:
    deploy = {"canary_share": 0.3, "min_requests": 20, "max_latency_ratio": 50, "canary_seconds": seconds, **more}
    file.write_text("\n".join(["[deploy]", *(f"{name} = {value}" for name, value in deploy.items())]))


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


def register(
    address: str,
    folder: Path,
    *,
    bundle: Bundle | None = None,
    reasons: list[str] | None = None,
    without: str = "",
    schema: int = SCHEMA_VERSION,
) -> str:
    """The number of a new version."""
    bundle = bundle or tiny_bundle()
    bundle.manifest.pop(without, None)
    bundle.write(folder / "bundle")
    manifest = folder / "bundle" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": schema}))
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    (snapshot / "manifest.json").write_text(json.dumps({"id": folder.name}))
    registered = registry.register(
        address,
        bundle=folder / "bundle",
        twin=tiny_bundle().write(folder / "twin"),
        snapshot=snapshot,
        metrics={"duotempo/ndcg@10": 0.1},
        settings={},
        passed=not reasons,
        reasons=reasons or [],
        reports={},
    )
    return registered.version


def register_without_bundle(client: MlflowClient) -> None:
    """A version whose artefacts are gone."""
    run = client.create_run(client.create_experiment("lost")).info
    source = f"{run.artifact_uri}/model"
    client.create_model_version(registry.NAME, source=source, run_id=run.run_id, tags={"gate": "passed"})


def served_version(platform: Platform) -> str:
    """The version that the address which callers keep answers from."""
    answer = httpx.post(f"{platform.addresses.serving_url}/recommend", json={"user_id": "u0", "k": 3}, timeout=20)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    assert len(body["items"]) == 3
    return str(body["model_version"])


def champion(address: str) -> str | None:
    found = registry.champion(address)
    return found.version if found else None


def last_line(engine: Engine) -> tuple[str, str | None, str, str, str]:
    line = list_promotions(engine)[-1]
    return line.version, line.from_version, line.actor, line.reason, line.state
