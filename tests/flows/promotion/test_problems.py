"""Damage in the registry is reported: by `status`, in `promotions`, in the metrics and as a notification."""

import json

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from components import registry
from components.store.promotions import list_promotions
from infra.local.platform import Platform
from infra.watch.alerts import MIN_CHECKS
from tests.support.listeners import webhook
from tests.support.platforms import SharedPlatform
from tests.support.promotion import (
    NEXT,
    SHORT_CANARY_SECONDS,
    SOUND,
    canary_settings,
    champion,
    send_webhook,
    serve_sound_version,
    set_alias,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)

ALIAS_GONE = json.dumps({"action": "deleted", "data": {"name": registry.NAME, "alias": "champion"}}).encode()
"""A delivery that makes the webhook receiver check now, without a promotion."""


@pytest.fixture(autouse=True)
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    serve_sound_version(platform, mlflow, engine)


def problems(mlflow: str, version: str = SOUND) -> dict[str, str]:
    """Returns the text of each problem by its name, if that version serves."""
    problems_found = registry.find_problems(mlflow, {"champion": version})
    return {problem.name: f"{problem.what}. {problem.remedy}" for problem in problems_found}


def problem_rows(engine: Engine) -> list[tuple[str, str]]:
    return [(line.version, line.state) for line in list_promotions(engine) if line.state in ("problem", "healed")]


def test_deleted_alias_and_its_return_are_notified(
    shared_platform: SharedPlatform, platform: Platform, mlflow: str, engine: Engine
) -> None:
    shell, count = shared_platform.shell, len(problem_rows(engine))

    def check_repeatedly() -> None:
        for _ in range(MIN_CHECKS):
            assert send_webhook(platform, ALIAS_GONE) == 200

    with webhook() as receiver:
        shared_platform.write_settings(
            {**canary_settings(SHORT_CANARY_SECONDS), "monitoring": {"notify": receiver.url}}
        )
        assert shell.status()["exit"] == 0
        MlflowClient(mlflow).delete_registered_model_alias(registry.NAME, "champion")
        output = shell.run("status", fails=1).text
        assert f"version {SOUND} serves, but no version bears the alias" in output
        assert f"duotempo promote {SOUND}" in output
        check_repeatedly()
        eventually(lambda: receiver.got, seconds=60)
        assert problem_rows(engine)[count:] == [(SOUND, "problem")]
        assert 'duotempo_problem{problem="no_champion"} 1.0' in httpx.get(f"{platform.addresses.hook_url}/metrics").text
        set_alias(mlflow, SOUND)
        check_repeatedly()
        eventually(lambda: len(receiver.got) == 2, seconds=60)
        shared_platform.write_settings(canary_settings(SHORT_CANARY_SECONDS))
    assert [(message["state"], message["name"]) for message in receiver.got] == [
        ("problem", "no_champion"),
        ("over", "no_champion"),
    ]
    assert f"duotempo promote {SOUND}" in receiver.got[0]["remedy"]
    assert problem_rows(engine)[count:] == [(SOUND, "problem"), (SOUND, "healed")]
    assert shell.status()["exit"] == 0


def test_renamed_model_is_reported_with_its_new_name(platform: Platform, mlflow: str, engine: Engine) -> None:
    client = MlflowClient(mlflow)
    client.rename_registered_model(registry.NAME, "shop's best")
    try:
        assert "it is named `shop's best` now" in problems(mlflow)["no_model"]
    finally:
        client.rename_registered_model("shop's best", registry.NAME)
    assert problems(mlflow) == {}
    assert champion(mlflow) == SOUND


def test_deleted_version_and_experiment_are_reported(mlflow: str) -> None:
    assert "version 99 serves as champion, but it was deleted" in problems(mlflow, "99")["no_version"]
    client = MlflowClient(mlflow)
    experiment = client.get_experiment_by_name(registry.NAME)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    try:
        assert f"--experiment-id {experiment.experiment_id}" in problems(mlflow)["no_experiment"]
    finally:
        client.restore_experiment(experiment.experiment_id)
    assert problems(mlflow) == {}


def test_status_suggests_promotion_before_the_first_champion(
    shared_platform: SharedPlatform, platform: Platform, mlflow: str
) -> None:
    bento = platform.home.state.bento
    client = MlflowClient(mlflow)
    client.delete_registered_model_alias(registry.NAME, "champion")
    platform._put(bento=None)
    try:
        output = shared_platform.shell.run("status").text
        newest = json.loads(shared_platform.shell.run("status", "--json").out)["unserved"]
        assert int(newest) >= int(NEXT)
        assert f"no version is the champion: duotempo promote {newest}" in output
    finally:
        platform._put(bento=bento)
        set_alias(mlflow, SOUND)
