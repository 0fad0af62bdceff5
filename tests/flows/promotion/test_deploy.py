"""Promotion, refusal and rollback on a whole platform: Postgres, Prefect and its workers, MLflow, the served Bento."""

import pytest
from sqlalchemy import Engine

from components import registry
from components.settings import Settings
from components.store.promotions import list_promotions
from infra.deploy.bento import build_bento, versions_of
from infra.deploy.promotion import PromotionRefused, promote, rollback
from infra.local.platform import Platform
from infra.orchestration.client import DeploymentError
from tests.support.promotion import (
    BROKEN,
    FAILED_GATE,
    SOUND,
    champion,
    latest_promotion,
    serve_sound_version,
    served_version,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True, scope="module")
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    serve_sound_version(platform, mlflow, engine)


def test_promoted_version_serves_at_the_fixed_address(platform: Platform, mlflow: str, engine: Engine) -> None:
    assert served_version(platform) == SOUND
    assert champion(mlflow) == SOUND
    assert [line.state for line in list_promotions(engine)[:2]] == ["requested", "serving"]
    first = list_promotions(engine)[1]
    assert (first.version, first.from_version, first.actor, first.reason) == (SOUND, None, "ann", "the first")
    served = platform.served()
    assert served is not None and SOUND in versions_of(served["bento_tag"], platform.home.bentoml)


def test_failed_gate_refuses_before_any_change(settings: Settings, mlflow: str, engine: Engine) -> None:
    before = latest_promotion(engine)
    with pytest.raises(PromotionRefused, match=r"version 2 did not pass the gate: below popularity.*--force --why"):
        promote(FAILED_GATE, settings=settings, actor="bob")
    with pytest.raises(PromotionRefused, match="needs a why"):
        promote(FAILED_GATE, settings=settings, actor="bob", force=True)
    assert latest_promotion(engine) == before
    assert champion(mlflow) == SOUND


def test_failed_smoke_test_leaves_old_version_serving(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine
) -> None:
    with pytest.raises(DeploymentError, match="failed its smoke test: /recommend"):
        promote(BROKEN, settings=settings, actor="bob", reason="looks fine")
    assert latest_promotion(engine)[4] == "refused"
    assert "smoke test" in registry.version(mlflow, BROKEN).tags["refused"]
    assert champion(mlflow) == SOUND == served_version(platform)


def test_forced_promotion_is_recorded_and_rolled_back(
    settings: Settings, platform: Platform, mlflow: str, engine: Engine
) -> None:
    promote(FAILED_GATE, settings=settings, actor="bob", reason="popularity is broken", force=True)
    eventually(lambda: champion(mlflow) == FAILED_GATE == served_version(platform), seconds=30)
    assert latest_promotion(engine) == (FAILED_GATE, SOUND, "bob", "popularity is broken", "serving")
    assert "refused" not in registry.version(mlflow, FAILED_GATE).tags
    tag = (platform.served() or {})["bento_tag"]
    assert rollback(settings=settings, actor="ann") == SOUND
    assert (platform.served() or {})["bento_tag"] == tag, "a switch inside the running Bento"
    eventually(lambda: served_version(platform) == SOUND, seconds=30)
    assert champion(mlflow) == SOUND == served_version(platform)
    assert latest_promotion(engine) == (SOUND, FAILED_GATE, "ann", "rollback", "serving")


def test_rollback_starts_kept_bento_if_the_running_one_lacks_the_version(
    settings: Settings, platform: Platform, mlflow: str
) -> None:
    home = platform.home.bentoml
    bundle = platform.home.path / "bundles" / SOUND
    platform.serve(build_bento({SOUND: bundle}, newest=SOUND, champion=SOUND, bentoml_home=home))
    assert rollback(settings=settings, actor="ann") == FAILED_GATE
    assert champion(mlflow) == FAILED_GATE == served_version(platform)
    served = platform.served() or {}
    assert served["model_version"] == FAILED_GATE
    assert versions_of(served["bento_tag"], home) == {SOUND, FAILED_GATE}
    assert rollback(settings=settings, actor="ann") == SOUND
    assert champion(mlflow) == SOUND == served_version(platform)


def test_unknown_version_fails_at_once(settings: Settings, mlflow: str) -> None:
    with pytest.raises(registry.RegistryError, match="known versions: 7, 6, 5, 4, 3, 2, 1"):
        promote("99", settings=settings, actor="bob")
