"""Postgres stopped and restarted; a service that cannot become ready."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from serving.contract.responses import Ready
from serving.http.app import make_app
from serving.runtime import Runtime
from tests.support.postgres import Server
from tests.support.service import HISTORIES, RunningService, admin_key, bento, wait_until_ready
from tests.support.service_client import colours, ids, metric, recommend, validated_error, wait_until_not_degraded
from tests.support.toy_data import chessboard, load, squares
from tests.support.waiting import eventually


def test_without_postgres_lists_are_degraded_but_served(
    postgres: tuple[Server, str], tmp_path: Path, browser: Browser
) -> None:
    server, url = postgres
    bundle = chessboard()
    bundle.write(tmp_path / "bundle")
    long_ago = [(name, "purchase", 100.0) for name in squares("black")[:8]]
    load(url, bundle, HISTORIES | {"penny": long_ago})
    admin = admin_key(url)
    with bento(tmp_path, url) as address, httpx.Client(base_url=address, timeout=30) as client:
        wait_until_ready(address)
        client.get("/users", headers=admin).raise_for_status()  # caches the keys
        whole = recommend(client, "bella", k=5)
        assert not whole.degraded
        eventually(lambda: metric(client, "duotempo_users") == 3, 60)  # the cache warm-up has added two

        server.stop()
        answer_for_recent_user = recommend(client, "willy", k=40)
        assert (answer_for_recent_user.degraded, answer_for_recent_user.user_state) == (True, "known")
        assert not {item for item, *_ in HISTORIES["willy"]} & set(ids(answer_for_recent_user))
        remembered = recommend(client, "bella", k=5)
        assert (remembered.degraded, remembered.user_state) == (True, "known")
        assert ids(remembered) == ids(whole)
        popular = recommend(client, "penny", k=5, explain=True)
        assert (popular.degraded, popular.user_state) == (True, "new")
        assert len(popular.items) == 5
        context = [{"item_id": name, "event": "like"} for name in squares("white")[:3]]
        moved = recommend(client, "penny", k=5, context=context)
        assert moved.degraded
        assert moved.user_state == "anonymous"
        assert colours(moved) == {"white"}
        assert client.post("/similar", json={"item_id": "a1"}).json()["degraded"]
        page = browser.new_page()
        page.goto(f"{address}/?user=turner")
        expect(page.locator("#degraded")).to_contain_text("Likes are kept on the service's disk")
        page.locator(".card [data-event=like]").first.click()
        expect(page.locator("#change")).to_contain_text("kept on the service's disk until the database is back")
        expect(page.locator("#alert")).to_be_hidden()
        page.close()
        for response in (
            client.post("/items", json={"items": [{"item_id": "new"}]}, headers=admin),
            client.get("/items"),
            client.get("/users", headers=admin),
        ):
            assert (response.status_code, validated_error(response).code) == (503, "database_away")
            assert int(response.headers["retry-after"]) > 0
            assert "password" not in response.text
        assert client.get("/livez").status_code == 200
        assert metric(client, "duotempo_degraded_total") >= 3

        server.restart()
        again = wait_until_not_degraded(client, "bella", k=5)
        assert ids(again) == ids(whole)


def test_requests_do_not_wait_for_a_slow_postgres(client: httpx.Client, service: RunningService) -> None:
    event = {"event_id": uuid.uuid4().hex, "user_id": "slow", "item_id": "a1", "event": "view"}
    with psycopg.connect(service.database) as blocking:
        blocking.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        assert recommend(client, "somebody-new").degraded
        assert client.post("/feedback", json={"events": [event]}).json()["spooled"] == 1
    assert not wait_until_not_degraded(client, "slow").degraded
    assert client.post("/feedback", json={"events": [event]}).json()["duplicates"] == 1


def test_without_a_bundle_readyz_reports_what_is_missing(tmp_path: Path) -> None:
    with (
        bento(tmp_path, "postgresql://nobody@127.0.0.1:1/nothing") as address,
        httpx.Client(base_url=address) as client,
    ):
        wait_until_loaded(lambda: client.get("/readyz").text)
        response = client.get("/readyz")
        state = Ready.model_validate(response.json())
        assert (response.status_code, state.ready, state.model_version) == (503, False, None)
        assert "manifest.json is missing" in state.missing[0]
        refused = client.post("/recommend", json={"user_id": "bella"})
        assert (refused.status_code, validated_error(refused).code) == (503, "not_ready")
        assert "manifest.json is missing" in validated_error(refused).message
        assert client.get("/livez").status_code == 200
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("", "DUOTEMPO_DATABASE_URL is not set"),
        ("mysql://there/", "must begin with postgresql://"),
        ("no address", "cannot be read"),
    ],
)
def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, missing: str) -> None:
    chessboard().write(tmp_path / "bundle")
    monkeypatch.setenv("DUOTEMPO_BUNDLES", str(tmp_path))
    monkeypatch.setenv("DUOTEMPO_DATABASE_URL", url)
    assert missing in missing_reason()


def test_a_broken_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replace(chessboard(), tower=b"no model").write(tmp_path / "bundle")
    monkeypatch.setenv("DUOTEMPO_BUNDLES", str(tmp_path))
    monkeypatch.setenv("DUOTEMPO_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert "the bundle cannot be used" in missing_reason()


def missing_reason() -> str:
    """Why a service in this process is not ready."""
    with TestClient(make_app(Runtime())) as client:
        wait_until_loaded(lambda: client.get("/readyz").text)
        response = client.get("/readyz")
        assert response.status_code == 503
        return Ready.model_validate(response.json()).missing[0]


def wait_until_loaded(readyz: Callable[[], str]) -> None:
    """Waits until the service has finished loading. readyz: returns the body of /readyz."""
    eventually(lambda: "still being read" not in readyz(), 60)
