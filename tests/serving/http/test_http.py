"""Routes, limits, error shapes and headers."""

import json
from collections.abc import Mapping

import httpx
import pytest

from serving.contract.responses import Ready
from serving.page.files import FILES
from tests.support.service_client import POSTS, metric, validated_error

JSON = {"Content-Type": "application/json"}


def test_probes(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"alive": True, "platform": None}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert Ready.model_validate(ready.json()).model_dump(exclude={"notes"}) == {
        "ready": True,
        "model_version": "7",
        "missing": [],
        "loading": False,
        "versions": ["7"],
        "variants": [{"variant": "champion", "model_version": "7", "share": 1.0}],
    }


def test_metrics_count_requests_and_events(client: httpx.Client) -> None:
    labels = {"route": "/recommend", "method": "POST", "status": "200"}
    before = metric(client, "duotempo_requests_total", **labels)
    accepted = metric(client, "duotempo_feedback_events_total", outcome="accepted")
    client.post("/recommend", json={"user_id": "bella"}).raise_for_status()
    client.post("/feedback", json={"events": [{"user_id": "counted", "item_id": "a1", "event": "view"}]})
    assert metric(client, "duotempo_requests_total", **labels) == before + 1
    assert metric(client, "duotempo_feedback_events_total", outcome="accepted") == accepted + 1
    assert metric(client, "duotempo_request_seconds_count", route="/recommend") >= before + 1
    assert metric(client, "duotempo_model_info", model_version="7") == 1


def test_unknown_paths_share_one_metric_label(client: httpx.Client) -> None:
    before = metric(client, "duotempo_requests_total", route="unknown", status="404")
    for path in ("/nix", "/schema.json", "/docs.json", "/page/../service.py", "/page/files.py"):
        assert validated_error(client.get(path)).code == "not_found"
    assert metric(client, "duotempo_requests_total", route="unknown", status="404") == before + 5


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_content_types_without_a_cors_preflight_are_415(
    client: httpx.Client, path: str, kind: str, admin: Mapping[str, str]
) -> None:
    response = client.post(path, content=b'{"user_id": "u"}', headers={"Content-Type": kind, **admin})
    assert (response.status_code, validated_error(response).code) == (415, "unsupported_type")


@pytest.mark.parametrize("path", POSTS)
def test_broken_json_is_400(client: httpx.Client, path: str, admin: Mapping[str, str]) -> None:
    for body in (b"", b"{", b"{'user_id': 1}", b"\xff\xfe", b'{"user_id": "\\ud800"}'):
        response = client.post(path, content=body, headers={**JSON, **admin})
        assert (response.status_code, validated_error(response).code) == (400, "broken_json")


@pytest.mark.parametrize("path", POSTS)
def test_a_large_body_is_413(client: httpx.Client, path: str, admin: Mapping[str, str]) -> None:
    response = client.post(path, content=b'{"user_id": "' + b"x" * (1 << 20) + b'"}', headers={**JSON, **admin})
    assert (response.status_code, validated_error(response).code) == (413, "too_large")


@pytest.mark.parametrize("path", POSTS)
def test_json_that_is_not_an_object_is_422(client: httpx.Client, path: str, admin: Mapping[str, str]) -> None:
    for body in ("[]", "null", "5", '"text"'):
        assert client.post(path, content=body, headers={**JSON, **admin}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/recommend", {"POST"}),
        ("DELETE", "/items", {"GET", "HEAD", "POST"}),
        ("POST", "/livez", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405(client: httpx.Client, method: str, path: str, allowed: set[str]) -> None:
    response = client.request(method, path)
    assert (response.status_code, validated_error(response).code) == (405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(("path", "file"), FILES.items())
def test_static_files_have_content_types_and_security_headers(
    client: httpx.Client, path: str, file: tuple[str, str]
) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == file[1]
    assert "http://" not in response.text.replace("http://www.w3.org/", "")
    assert "https://" not in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


def test_errors_have_security_headers(client: httpx.Client) -> None:
    assert client.get("/nix").headers["x-content-type-options"] == "nosniff"


def test_openapi_lists_every_route_and_resolves_its_references(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operations = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert document["openapi"] == "3.1.0"
    assert operations == {
        *(("POST", path) for path in (*POSTS, "/forget", "/export", "/consent", "/session")),
        *(("GET", path) for path in ("/items", "/users", "/livez", "/readyz", "/metrics")),
    }
    named = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
    assert document["components"]["schemas"]["RecommendRequest"]["required"] == ["user_id"]
