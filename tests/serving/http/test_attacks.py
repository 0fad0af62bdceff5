"""Hostile requests: none bypasses access control, causes a server error or stalls other callers."""

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine

from components.store.engine import make_engine
from components.store.keys import create_link, read_keys
from tests.support.service import RunningService
from tests.support.service_client import POSTS, ids, metric, new_user, recommend, send_feedback, validated_error, view
from tests.support.toy_data import NAMES
from tests.support.waiting import eventually

BODY = json.dumps({"user_id": "asked by a stranger"}).encode()
LARGE_BYTES = 850_000


@pytest.fixture(scope="module")
def engine(service: RunningService) -> Iterator[Engine]:
    engine = make_engine(service.database)
    yield engine
    engine.dispose()


def link(engine: Engine) -> str:
    """The token of a sign-in link, as printed by `duotempo open store`."""
    with engine.begin() as connection:
        return create_link(connection)


def raw_response(service: RunningService, *lines: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Sends a raw request. Returns the status and the whole response."""
    where = urlsplit(service.address)
    assert where.hostname and where.port
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"\r\n".join([*lines, b"", body]))
        received = b""
        while part := connection.recv(65_536):
            received += part
    return int(received.split(b" ", 2)[1]), received


def status_of(service: RunningService, path: str, *headers: bytes, version: str = "1.1") -> int:
    head = (b"Content-Type: application/json", b"Content-Length: %d" % len(BODY), b"Connection: close")
    return raw_response(service, f"POST {path} HTTP/{version}".encode(), *headers, *head, body=BODY)[0]


def server_errors(client: httpx.Client) -> float:
    return sum(metric(client, "duotempo_requests_total", status=status) for status in ("500", "503"))


@pytest.mark.parametrize("path", ["/items", "/users"])
def test_admin_routes_need_a_key_even_from_local_callers(
    client: httpx.Client, admin: Mapping[str, str], path: str
) -> None:
    method = "POST" if path == "/items" else "GET"
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers=admin).status_code in (200, 415)


@pytest.mark.parametrize(
    "sign",
    [
        b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-For: [::1]:123", b"X-Forwarded-For: ", b"X-Real-IP: 127.0.0.1",
        b"Forwarded: for=127.0.0.1", b"Via: 1.1 proxy", b"X-Forwarded-Host: localhost", b"x-forwarded-proto: http",
    ],
)  # fmt: skip
def test_a_proxied_request_is_not_local(service: RunningService, sign: bytes) -> None:
    assert status_of(service, "/recommend", b"Host: localhost", sign) == 401
    assert status_of(service, "/recommend", b"Host: localhost") == 200


def test_an_http_1_0_request_counts_as_proxied(service: RunningService) -> None:
    assert status_of(service, "/recommend", b"Host: localhost", version="1.0") == 401


@pytest.mark.parametrize(
    "host",
    [
        b"[", b"]", b"[::1", b"::1]", b"[::1]x", b"evil@localhost", b"localhost@evil", b"localhost:99999999", b":",
        b"localhost/", b"localhost#", b"//localhost", b"127.0.0.1.", b"0x7f.1", b"\xff\xfe", b"x" * 20_000,
        b"localhost\r\nHost: localhost",
    ],
)  # fmt: skip
def test_a_malformed_host_is_refused_without_a_server_error(
    service: RunningService, client: httpx.Client, host: bytes
) -> None:
    before = server_errors(client)
    assert status_of(service, "/recommend", b"Host: " + host) == 401
    for path in ("/nix", "/recommend/", "/livez"):
        assert status_of(service, path, b"Host: " + host) in (404, 405)
    assert server_errors(client) == before


def test_a_sign_in_link_works_once(service: RunningService, engine: Engine) -> None:
    with httpx.Client(base_url=service.address, timeout=60) as browser:
        token = link(engine)
        assert browser.get("/users", headers={"Authorization": f"Bearer {token}"}).status_code in (401, 403)
        answer = browser.post("/session", json={"token": token})
        assert answer.json() == {"signed_in": True}
        received = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(received.split("; "))
        assert "Secure" not in received
        assert browser.get("/users").status_code == 200
        assert browser.get("/users", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
        for foreign in ("cross-site", "same-site"):
            assert browser.get("/users", headers={"Sec-Fetch-Site": foreign}).status_code == 401
        assert browser.get("/users", headers={"Authorization": "Bearer x"}).status_code == 401
        again = browser.post("/session", json={"token": token})
        assert (again.status_code, validated_error(again).code) == (401, "no_link")
        secure = browser.post("/session", json={"token": link(engine)}, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in secure.headers["set-cookie"].split("; ")
    assert httpx.get(f"{service.address}/users").status_code == 401


@pytest.mark.parametrize("token", ["", "dt_000000000000_" + "A" * 43, "' OR 1=1 --", "x" * 200, "\x00"])
def test_an_invalid_sign_in_token_is_refused(client: httpx.Client, token: str) -> None:
    answer = client.post("/session", json={"token": token})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)


def test_api_keys_and_expired_links_do_not_sign_in(
    client: httpx.Client, admin: Mapping[str, str], engine: Engine
) -> None:
    key, token = admin["Authorization"].removeprefix("Bearer "), link(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE api_keys SET expires_at = now() WHERE scopes = ARRAY['sign_in']")
    for received in (key, token):
        assert client.post("/session", json={"token": received}).status_code == 401


def test_concurrent_uses_of_a_link_sign_in_once(service: RunningService, engine: Engine) -> None:
    token = link(engine)

    def use(_: int) -> int:
        return httpx.post(f"{service.address}/session", json={"token": token}, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(use, range(8))) == [200] + [401] * 7
    with engine.begin() as connection:
        assert token.split("_")[1] not in read_keys(connection)


def test_a_client_disconnect_is_not_a_server_error(
    service: RunningService, client: httpx.Client, service_folder: Path
) -> None:
    before, where = server_errors(client), urlsplit(service.address)
    disconnects = metric(client, "duotempo_requests_total", route="/feedback", status="499")
    head = (
        b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(head)
        time.sleep(0.2)
    eventually(
        lambda: metric(client, "duotempo_requests_total", route="/feedback", status="499") == disconnects + 1, 60
    )
    assert server_errors(client) == before
    assert "ClientDisconnect" not in (service_folder / "bento.log").read_text()


def wrong_fields(count: int) -> dict[str, object]:
    return {f"k{number}": 1 for number in range(count)}


@pytest.mark.parametrize("path", POSTS)
def test_one_of_many_validation_errors_is_reported(client: httpx.Client, admin: Mapping[str, str], path: str) -> None:
    rows = {"/feedback": "events", "/items": "items"}.get(path, "context")
    item = {"item_id": "a1", "category": [1] * (LARGE_BYTES // 3)}
    bodies: list[dict[str, object]] = [
        wrong_fields(LARGE_BYTES // 11),
        {rows: [wrong_fields(75)] * (LARGE_BYTES // 750)},
        {rows: [wrong_fields(30)] * (LARGE_BYTES // 300)},
        {rows: [{}] * (LARGE_BYTES // 4)},
        {rows: [item]},
        {"filters": {"category_in": [1] * (LARGE_BYTES // 3)}},
    ]
    for body in bodies:
        answer = client.post(path, json=body, headers=admin)
        assert (answer.status_code, validated_error(answer).code) == (422, "invalid"), body
        assert len(answer.content) < 400
    deep = client.post(path, content=b"[" * LARGE_BYTES, headers={**admin, "Content-Type": "application/json"})
    assert (deep.status_code, validated_error(deep).code) == (400, "broken_json")


def test_a_query_with_thousands_of_fields_is_refused(client: httpx.Client, admin: Mapping[str, str]) -> None:
    answer = client.get("/users?" + "&".join(f"a{n}=1" for n in range(5_000)), headers=admin)
    assert (answer.status_code, validated_error(answer).code) == (422, "invalid")
    assert len(answer.content) < 400


def test_an_empty_list_can_be_explained(client: httpx.Client) -> None:
    """For a user with a longer history than explanations examine item by item."""
    user = new_user()
    send_feedback(client, *[view(user, name) for name in NAMES[:40]])
    for filters in ({"category_in": ["nothing has it"]}, {"exclude_items": NAMES}):
        options = {"filters": filters, "explain": True, "diversity": 0.5}
        assert ids(recommend(client, user, k=5, **options)) == []
    context = [{"item_id": name, "event": "like"} for name in NAMES[:40]]
    nothing = recommend(client, new_user(), context=context, filters={"category_in": ["x"]}, explain=True)
    assert nothing.items == []
    assert re.fullmatch("[0-9a-f]{32}", nothing.request_id)
