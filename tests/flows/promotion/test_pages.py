"""MLflow's page: its button promotes, and each version shows its state there."""

import pytest
from mlflow import MlflowClient
from playwright.sync_api import expect
from sqlalchemy import Engine

from components import registry
from infra.local.platform import Platform
from tests.support.browser import chromium
from tests.support.platforms import SharedPlatform
from tests.support.promotion import (
    FAILED_GATE,
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


@pytest.fixture(autouse=True, scope="module")
def sound_version_serves(platform: Platform, mlflow: str, engine: Engine) -> None:
    serve_sound_version(platform, mlflow, engine)


def status_and_description(mlflow: str, version: str, model: str = registry.NAME) -> tuple[str, str]:
    """Returns the status tag and the description of a version."""
    registered = MlflowClient(mlflow).get_model_version(model, version)
    return registered.tags.get("status", ""), registered.description or ""


def test_mlflow_button_promotes_and_versions_show_their_state(
    shared_platform: SharedPlatform, mlflow: str, engine: Engine
) -> None:
    user, _, password = shared_platform.shell.run("secrets", "show", "mlflow").out.strip().partition(":")
    with chromium() as browser:
        page = browser.new_context(http_credentials={"username": user, "password": password}).new_page()
        page.goto(f"{mlflow}/#/models/{registry.NAME}/versions/{NEXT}")
        page.get_by_role("button", name="Promote model").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").click()
        page.get_by_text(registry.PRODUCTION, exact=True).last.click()
        dialog.get_by_role("button", name="Promote", exact=True).click()
        page.wait_for_url(f"**/models/{registry.PRODUCTION}/versions/*")
        copy = page.url.rpartition("/")[2]
        wait_for_promotion(engine, NEXT, "serving")
        assert champion(mlflow) == NEXT
        assert f"copy {copy} of version {NEXT} was made in {registry.PRODUCTION}" in latest_promotion(engine)[3]
        eventually(lambda: status_and_description(mlflow, copy, registry.PRODUCTION)[0].startswith("serving since"), 60)
        page.goto(f"{mlflow}/#/models/{registry.NAME}")
        expect(page.get_by_text("duotempo promote VERSION").first).to_be_visible()
        expect(page.get_by_text("serving since").first).to_be_visible()
    assert status_and_description(mlflow, NEXT)[0].startswith("serving since")
    assert status_and_description(mlflow, SOUND)[0].startswith("served until")


def test_refusal_reason_is_shown_beside_the_users_description(mlflow: str, engine: Engine) -> None:
    MlflowClient(mlflow).update_model_version(registry.NAME, FAILED_GATE, "tried by ann")
    set_alias(mlflow, FAILED_GATE)
    wait_for_promotion(engine, FAILED_GATE, "refused")
    eventually(lambda: status_and_description(mlflow, FAILED_GATE)[1].startswith("refused "), 60)
    status, text = status_and_description(mlflow, FAILED_GATE)
    ours, persons = text.split("\n\n")
    assert status.startswith("refused") and "below popularity" in ours
    assert persons == "tried by ann"
