"""A server crashes during a deployment: the old version keeps answering, and the promoted version serves in the end."""

import os
import signal

import pytest
from sqlalchemy import Engine

from benchmarks.load_clients import run_clients
from components.store.engine import StoreError
from components.store.promotions import list_promotions
from infra.local.platform import Platform
from tests.support.promotion import (
    DEPLOY_SECONDS,
    NEXT,
    SOUND,
    champion,
    latest_promotion,
    serve_sound_version,
    set_alias,
    wait_for_promotion,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    serve_sound_version(platform, mlflow, engine)


@pytest.mark.long
@pytest.mark.parametrize("server", ["postgres", "mlflow", "prefect"])
def test_server_crash_during_deployment_loses_no_answer_and_no_promotion(
    platform: Platform, mlflow: str, engine: Engine, server: str
) -> None:
    before, wanted = SOUND, NEXT
    count = len(list_promotions(engine))
    with run_clients(platform.addresses.serving_url, ["u0", "u1", "u2", "u3", "somebody"]) as seen:
        eventually(lambda: seen[before] > 20, seconds=60)
        set_alias(mlflow, wanted)
        eventually(lambda: len(list_promotions(engine)) > count, seconds=60)
        os.kill(platform.status()["services"][server]["pid"], signal.SIGKILL)

        def ended() -> bool:
            try:
                return latest_promotion(engine)[4] in ("serving", "failed", "refused")
            except StoreError:
                return False

        eventually(ended, seconds=DEPLOY_SECONDS)
        if latest_promotion(engine)[4] == "failed":
            eventually(lambda: champion(mlflow) is not None, seconds=DEPLOY_SECONDS)
            set_alias(mlflow, wanted)
        wait_for_promotion(engine, wanted, "serving")
        answered = seen.total()
        eventually(lambda: seen.total() > answered + 50 and seen[wanted], seconds=60)
    assert set(seen) == {before, wanted}, "every request is answered"
    assert champion(mlflow) == wanted
