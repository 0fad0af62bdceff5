"""Keys, scopes, rate limits and timeouts over HTTP; most tests use a service that trusts no local caller."""

import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, expect
from sqlalchemy import Engine

from components.store.engine import make_engine
from components.store.keys import SCOPES, create_key, read_keys, revoke_key, rotate_key
from serving.contract.responses import ErrorAnswer
from tests.support.postgres import Server, stored
from tests.support.service import RunningService, bento, wait_until_ready
from tests.support.service_client import validated_error
from tests.support.toy_data import chessboard, load
from tests.support.waiting import eventually

BODIES: dict[str, tuple[str, dict[str, object]]] = {
    "recommend": ("/recommend", {"user_id": "bella"}),
    "feedback": ("/feedback", {"events": [{"user_id": "keyed", "item_id": "a1", "event": "view"}]}),
    "admin": ("/export", {"user_id": "bella"}),
}
FAST_POLLING = {"DUOTEMPO_SECURITY__KEYS_SECONDS": "0.1"}
"""Keys are polled often, so that new ones take effect soon."""


@pytest.fixture(scope="module")
def engine(service: RunningService) -> Iterator[Engine]:
    engine = make_engine(service.database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def keys(engine: Engine) -> dict[str, str]:
    """A key of each scope."""
    with engine.begin() as connection:
        return {scope: create_key(connection, f"for {scope}", [scope])[1] for scope in SCOPES}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def guarded(service: RunningService, place: Path, keys: dict[str, str]) -> Iterator[httpx.Client]:
    chessboard().write(place / "bundle")
    settings = {
        "DUOTEMPO_SECURITY__TRUST_LOCAL": "false",
        "DUOTEMPO_SECURITY__CALLER_RATE": "1000",
        "DUOTEMPO_SECURITY__CALLER_BURST": "5000",
        "DUOTEMPO_SECURITY__USER_RATE": "0.5",
        "DUOTEMPO_SECURITY__USER_BURST": "20",
        "DUOTEMPO_SECURITY__CALLER_EVENTS": "300",
        "DUOTEMPO_SECURITY__CALLER_USERS": "200",
        "DUOTEMPO_SECURITY__TIMEOUT_SECONDS": "3",
        **FAST_POLLING,
    }
    with bento(place, service.database, **settings) as address:
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=30) as client:
            yield client


def bearer_header(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(client: httpx.Client, scope: str, key: str) -> int:
    path, body = BODIES[scope]
    if scope == "recommend":
        body = {"user_id": f"user-{uuid.uuid4().hex}"}
    return client.post(path, json=body, headers=bearer_header(key)).status_code


def becomes(client: httpx.Client, scope: str, key: str, wanted: int) -> bool:
    """Waits until requests with a key get this status."""
    return bool(eventually(lambda: status(client, scope, key) == wanted, 60))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_grants_only_its_scope(guarded: httpx.Client, keys: dict[str, str], scope: str) -> None:
    for other, key in keys.items():
        assert status(guarded, scope, key) == (200 if scope == other else 403)


def test_routes_need_a_key(guarded: httpx.Client) -> None:
    for path in ("/recommend", "/feedback", "/similar", "/items", "/forget", "/export", "/consent"):
        answer = guarded.post(path, content=b"no JSON at all")
        assert (answer.status_code, validated_error(answer).code) == (401, "no_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/items", "/users"):
        assert guarded.get(path).status_code == 401


def test_routes_without_user_data_are_public(guarded: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_invalid_keys_are_refused(guarded: httpx.Client, keys: dict[str, str]) -> None:
    good = keys["recommend"]
    other = good[:-1] + ("A" if good[-1] != "A" else "E")
    hostile = [
        "", "Bearer", f"Basic {good}", good, f"Bearer {good} {good}", f"Bearer {other}",
        f"Bearer {good.upper()}", f"Bearer {good}\t{good}", "Bearer dt_000000000000_" + "A" * 43,
        "Bearer ' OR 1=1 --", "Bearer " + "A" * 20_000,
    ]  # fmt: skip
    for value in hostile:
        answer = guarded.post("/recommend", json={"user_id": "bella"}, headers={"Authorization": value})
        assert answer.status_code == 401, value
    twice = [("Authorization", f"Bearer {good}"), ("Authorization", "Bearer x")]
    assert guarded.post("/recommend", json={"user_id": "bella"}, headers=twice).status_code == 401
    in_the_url = guarded.post(f"/recommend?key={good}&authorization=Bearer {good}", json={"user_id": "bella"})
    assert in_the_url.status_code == 401
    raw = guarded.post("/recommend", json={"user_id": "b"}, headers={b"Authorization": b"Bearer \xff\xfe"})
    assert raw.status_code == 401


def test_the_scheme_may_be_written_in_any_case(guarded: httpx.Client, keys: dict[str, str]) -> None:
    headers = {"authorization": f"bEARER {keys['recommend']}"}
    assert guarded.post("/recommend", json={"user_id": "bella"}, headers=headers).status_code == 200


def test_a_huge_header_is_431(guarded: httpx.Client) -> None:
    answer = guarded.get("/livez", headers={"X-Much": "x" * 50_000})
    assert (answer.status_code, validated_error(answer).code) == (431, "headers_too_large")


def test_new_rotated_and_revoked_keys_take_effect_soon(guarded: httpx.Client, engine: Engine) -> None:
    with engine.begin() as connection:
        key_id, key = create_key(connection, "shop", ["recommend"])
    assert becomes(guarded, "recommend", key, 200)
    with engine.begin() as connection:
        next_id, successor = rotate_key(connection, key_id, timedelta(hours=1))
    assert becomes(guarded, "recommend", successor, 200)
    assert status(guarded, "recommend", key) == 200
    with engine.begin() as connection:
        revoke_key(connection, key_id)
    assert becomes(guarded, "recommend", key, 401)
    assert status(guarded, "recommend", successor) == 200
    with engine.begin() as connection:
        found = read_keys(connection)
    assert (found[next_id].name, found[next_id].scopes) == ("shop", frozenset({"recommend"}))


def test_a_key_expires(guarded: httpx.Client, engine: Engine) -> None:
    with engine.begin() as connection:
        _, key = create_key(connection, "for a moment", ["recommend"], timedelta(seconds=4))
    assert becomes(guarded, "recommend", key, 200)
    assert becomes(guarded, "recommend", key, 401)


def test_keys_are_neither_stored_nor_logged(
    guarded: httpx.Client, keys: dict[str, str], place: Path, service: RunningService
) -> None:
    for scope, key in keys.items():
        status(guarded, scope, key)
        status(guarded, scope, key[:-1])
    rows = str(stored(service.database, "SELECT * FROM api_keys"))
    log = (place / "bento.log").read_text()
    for key in keys.values():
        secret = key.split("_", 2)[2]
        assert secret not in rows
        assert secret not in log
    assert len(re.findall(r"'[0-9a-f]{64}'", rows)) >= len(keys)


def test_requests_about_a_user_are_rate_limited(guarded: httpx.Client, keys: dict[str, str]) -> None:
    body = {"user_id": "asked-without-end"}
    answers = [guarded.post("/recommend", json=body, headers=bearer_header(keys["recommend"])) for _ in range(30)]
    codes = [answer.status_code for answer in answers]
    assert codes[:20] == [200] * 20
    assert codes[-1] == 429
    assert validated_error(answers[-1]).code == "too_many_requests"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert status(guarded, "recommend", keys["recommend"]) == 200


def test_feedback_per_key_is_limited_by_quotas(
    guarded: httpx.Client, keys: dict[str, str], engine: Engine, service: RunningService
) -> None:
    with engine.begin() as connection:
        _, key = create_key(connection, "poison", ["feedback"])
    assert becomes(guarded, "feedback", key, 200)  # one event of one user

    def send_feedback(users: range, key: str = key) -> httpx.Response:
        events = [{"user_id": f"poison-{user}", "item_id": "a1", "event": "like"} for user in users]
        return guarded.post("/feedback", json={"events": events}, headers=bearer_header(key))

    assert send_feedback(range(150)).json()["accepted"] == 150
    refused = send_feedback(range(150, 220))
    assert (refused.status_code, validated_error(refused).code) == (429, "too_many_requests")
    assert "more than 200 users sent within an hour (setting security.caller_users)" in validated_error(refused).message
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert send_feedback(range(149)).status_code == 200
    refused = send_feedback(range(1))
    assert refused.status_code == 429
    assert "more than 300 events sent within an hour" in validated_error(refused).message
    count = stored(service.database, "SELECT count(*) FROM events WHERE user_id LIKE 'poison-%%'")
    assert count == [(299,)]
    assert send_feedback(range(1), keys["feedback"]).status_code == 200


def test_a_slow_request_times_out_with_503(guarded: httpx.Client, keys: dict[str, str]) -> None:
    sent = b'{"user_id": '
    head = {
        **bearer_header(keys["recommend"]),
        "Content-Type": "application/json",
        "Content-Length": str(len(sent) + 8),
    }
    with closing(HTTPConnection(guarded.base_url.netloc.decode(), timeout=60)) as connection:
        connection.request("POST", "/recommend", sent, head)  # the rest never comes
        answer = connection.getresponse()
        error = ErrorAnswer.model_validate_json(answer.read()).error
    assert (answer.status, error.code) == (503, "too_slow")
    assert answer.headers["retry-after"]
    assert status(guarded, "recommend", keys["recommend"]) == 200


def test_no_cors_headers_are_sent(guarded: httpx.Client, keys: dict[str, str]) -> None:
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert guarded.options("/recommend", headers=foreign).status_code == 405
    answer = guarded.post(
        "/recommend", json={"user_id": "bella"}, headers={**bearer_header(keys["recommend"]), **foreign}
    )
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_local_callers_are_trusted_except_on_admin_routes(client: httpx.Client) -> None:
    assert client.post("/recommend", json={"user_id": "bella"}).status_code == 200
    for path in ("/forget", "/export", "/consent"):
        assert client.post(path, json={"user_id": "bella", "consent": True}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "shop.example:3000", "10.0.0.7", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_header_is_not_local(client: httpx.Client, host: str) -> None:
    """Such as DNS rebinding, or a proxy that passes the original Host on."""
    assert client.post("/recommend", json={"user_id": "bella"}, headers={"Host": host}).status_code == 401


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.9.9.9:80", "[::1]:3000"])
def test_local_host_headers_are_trusted(client: httpx.Client, host: str) -> None:
    assert client.post("/recommend", json={"user_id": "bella"}, headers={"Host": host}).status_code == 200


def test_a_forwarded_request_is_not_local(client: httpx.Client) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    assert client.post("/recommend", json={"user_id": "bella"}, headers=headers).status_code == 401


def test_the_page_prompts_for_a_key_and_keeps_it_out_of_the_url(
    guarded: httpx.Client, engine: Engine, browser: Browser
) -> None:
    with engine.begin() as connection:
        _, key = create_key(connection, "page", ["recommend", "feedback"])
    assert becomes(guarded, "recommend", key, 200)
    prompts: list[str] = []

    def answer(dialog: Dialog) -> None:
        prompts.append(dialog.message)
        dialog.accept(key)

    context = browser.new_context(base_url=str(guarded.base_url))
    page = context.new_page()
    page.on("dialog", answer)
    page.goto("/?user=key-holder")
    expect(page.locator(".card")).to_have_count(12)
    page.locator(".card [data-event=like]").first.click()
    expect(page.locator("#change")).to_contain_text("Liked")
    expect(page.locator("#alert")).to_be_hidden()
    assert len(prompts) == 1
    assert key not in page.url
    context.close()


def test_cached_keys_stay_valid_while_postgres_is_away(postgres: tuple[Server, str], tmp_path: Path) -> None:
    server, url = postgres
    load(url, chessboard(), {})
    own = make_engine(url)
    with own.begin() as connection:
        _, key = create_key(connection, "shop", ["recommend"])
    own.dispose()
    chessboard().write(tmp_path / "bundle")
    with bento(tmp_path, url, DUOTEMPO_SECURITY__TRUST_LOCAL="false", **FAST_POLLING) as address:
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=60) as client:
            assert becomes(client, "recommend", key, 200)
            server.stop()
            eventually(lambda: "the keys stay as they were" in (tmp_path / "bento.log").read_text(), 60)
            answer = client.post("/recommend", json={"user_id": "u"}, headers=bearer_header(key))
            assert (answer.status_code, answer.json()["degraded"]) == (200, True)
            assert client.post("/recommend", json={"user_id": "u"}).status_code == 401
