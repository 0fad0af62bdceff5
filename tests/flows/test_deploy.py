"""Promotion, refusal and rollback on a whole platform: Postgres, Prefect and its workers, MLflow, the served Bento."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from components import registry
from components.settings import PlatformSettings, Settings
from components.store.engine import make_engine
from components.store.promotions import list_promotions
from infra.client import DeploymentError, run_deployment
from infra.local.platform import Platform
from infra.promotion import DEPLOYMENT, PromotionRefused, promote, rollback
from tests.worlds import fill_store, free_port, tiny_bundle

pytestmark = pytest.mark.timeout(900)
SOUND, FAILED_GATE, BROKEN = "1", "2", "3"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("home"),
        cache=tmp_path_factory.mktemp("cache"),
        platform=PlatformSettings(
            postgres_port=free_port(), prefect_port=free_port(), mlflow_port=free_port(), serving_port=free_port()
        ),
    )


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator[Platform]:
    platform = Platform(settings)
    try:
        platform.up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", platform.addresses.prefect_api_url)
            yield platform
    finally:
        platform.down()
        platform.remove()


@pytest.fixture(scope="module")
def engine(platform: Platform) -> Iterator[Engine]:
    engine = make_engine(platform.addresses.database_url)
    fill_store(engine, tiny_bundle())
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def mlflow(settings: Settings, platform: Platform, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The registry with three versions, of which the first serves."""
    address = platform.addresses.mlflow_url
    folder = tmp_path_factory.mktemp("versions")
    register(address, folder / SOUND)
    register(address, folder / FAILED_GATE, reasons=["below popularity"])
    register(address, folder / BROKEN, without="history")
    promote(SOUND, settings=settings, actor="ann", reason="the first")
    return address


def register(address: str, folder: Path, *, reasons: list[str] | None = None, without: str = "") -> None:
    bundle = tiny_bundle()
    bundle.manifest.pop(without, None)
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    (snapshot / "manifest.json").write_text(json.dumps({"id": folder.name}))
    registry.register(
        address,
        bundle=bundle.write(folder / "bundle"),
        twin=tiny_bundle().write(folder / "twin"),
        snapshot=snapshot,
        metrics={"duotempo/ndcg@10": 0.1},
        settings={},
        passed=not reasons,
        reasons=reasons or [],
        reports={},
    )


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


def test_a_promoted_version_serves_at_the_address_that_stays(platform: Platform, mlflow: str, engine: Engine) -> None:
    assert served_version(platform) == SOUND
    assert champion(mlflow) == SOUND
    assert last_line(engine) == (SOUND, None, "ann", "the first", "serving")
    served = platform.served()
    assert served is not None and served["bento_tag"].startswith(f"duotempo:v{SOUND}-")


def test_the_gate_refuses_before_anything_changes(settings: Settings, mlflow: str, engine: Engine) -> None:
    before = last_line(engine)
    with pytest.raises(PromotionRefused, match=r"version 2 did not pass the gate: below popularity.*--force --why"):
        promote(FAILED_GATE, settings=settings, actor="bob")
    with pytest.raises(PromotionRefused, match="needs a why"):
        promote(FAILED_GATE, settings=settings, actor="bob", force=True)
    assert last_line(engine) == before
    assert champion(mlflow) == SOUND


def test_an_alias_on_a_version_that_failed_the_gate_goes_back(platform: Platform, mlflow: str, engine: Engine) -> None:
    registry.set_champion(mlflow, FAILED_GATE)
    with pytest.raises(DeploymentError, match="below popularity"):
        run_deployment(DEPLOYMENT, {"version": FAILED_GATE}, timeout=200)
    version, before, actor, reason, state = last_line(engine)
    assert (version, before, actor, state) == (FAILED_GATE, SOUND, "registry", "refused")
    assert "below popularity" in reason
    assert "below popularity" in registry.version(mlflow, FAILED_GATE).tags["refused"]
    assert champion(mlflow) == SOUND == served_version(platform)


def test_a_failed_smoke_test_leaves_the_old_version_serving(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine
) -> None:
    with pytest.raises(DeploymentError, match="failed its smoke test: /recommend"):
        promote(BROKEN, settings=settings, actor="bob", reason="looks fine")
    assert last_line(engine)[4] == "refused"
    assert "smoke test" in registry.version(mlflow, BROKEN).tags["refused"]
    assert champion(mlflow) == SOUND == served_version(platform)


def test_a_forced_version_is_recorded_with_its_why_and_rolled_back(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine
) -> None:
    promote(FAILED_GATE, settings=settings, actor="bob", reason="popularity is broken", force=True)
    assert champion(mlflow) == FAILED_GATE == served_version(platform)
    assert last_line(engine) == (FAILED_GATE, SOUND, "bob", "popularity is broken", "serving")
    assert "refused" not in registry.version(mlflow, FAILED_GATE).tags
    assert rollback(settings=settings, actor="ann") == SOUND
    assert champion(mlflow) == SOUND == served_version(platform)
    assert last_line(engine) == (SOUND, FAILED_GATE, "ann", "rollback", "serving")


def test_an_unknown_version_is_told_at_once(settings: Settings, mlflow: str) -> None:
    with pytest.raises(registry.RegistryError, match="known versions: 3, 2, 1"):
        promote("99", settings=settings, actor="bob")
