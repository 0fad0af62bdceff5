"""Metrics of stages and candidates, and one log line per request, of a running service."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import HISTORIES, RunningService, bento, wait_until_ready
from tests.support.service_client import metric, recommend, send_feedback
from tests.support.toy_data import NAMES, chessboard, load, squares
from tests.support.waiting import eventually

PRIVATE_TEXT = "what-nobody-should-read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed")


@pytest.fixture(scope="module")
def address(database: str, folder: Path) -> Iterator[str]:
    """A service that logs each request as JSON."""
    bundle = chessboard()
    bundle.write(folder / "bundle")
    load(database, bundle, HISTORIES)
    with bento(folder, database, DUOTEMPO_LOG_LEVEL="INFO", DUOTEMPO_SERVING__LOG_FORMAT="json") as address:
        wait_until_ready(address)
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def lines(folder: Path, request_id: str) -> list[dict[str, Any]]:
    """The log lines of a request, which may be written some time after the response."""

    def read() -> list[dict[str, Any]]:
        whole, _, _ = (folder / "bento.log").read_text().rpartition("\n")
        all_lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in all_lines if line["request_id"] == request_id]

    return list(eventually(read, 60))


def test_every_stage_of_a_request_is_measured(client: httpx.Client) -> None:
    def counts() -> dict[str, float]:
        stages = ("history", "interest", "list", "reasons", "store")
        return {stage: metric(client, "duotempo_stage_seconds_count", stage=stage) for stage in stages}

    user = f"u-{uuid.uuid4().hex}"
    # users without events share one cached interest
    send_feedback(client, {"user_id": user, "item_id": "b1", "event": "view"})
    before = counts()
    recommend(client, user, explain=True, k=7)
    first = counts()
    assert {stage: first[stage] - before[stage] for stage in first} == {
        "history": 1, "interest": 1, "list": 1, "reasons": 1, "store": 0,
    }  # fmt: skip
    recommend(client, user, k=7)
    assert counts() == first
    events = [{"user_id": user, "item_id": "a1", "event": "like"}]
    client.post("/feedback", json={"events": events}).raise_for_status()
    recommend(client, user, k=7)
    after = counts()
    assert {stage: after[stage] - first[stage] for stage in after} == {
        "history": 0, "interest": 1, "list": 1, "reasons": 0, "store": 1,
    }  # fmt: skip


def test_candidates_counts_the_scored_items(client: httpx.Client) -> None:
    scored, lists = (metric(client, f"duotempo_candidates_{what}") for what in ("sum", "count"))
    recommend(client, f"u-{uuid.uuid4().hex}", k=3)
    assert metric(client, "duotempo_candidates_count") == lists + 1
    assert metric(client, "duotempo_candidates_sum") == scored + len(NAMES)


def test_a_request_is_logged_as_one_line_with_its_request_id(client: httpx.Client, folder: Path) -> None:
    response = client.post("/recommend", json={"user_id": "bella", "k": 3})
    answer = response.json()
    assert response.headers["x-request-id"] == answer["request_id"]
    (line,) = lines(folder, answer["request_id"])
    assert (line["level"], line["logger"]) == ("INFO", "serving.contract.requests")
    fields = ("method", "route", "status", "model_version", "variant", "user_state", "degraded")
    assert [line[name] for name in fields] == ["POST", "/recommend", 200, "7", "champion", "known", False]
    assert 0 < line["seconds"] < 60


def test_a_refused_request_is_logged_too(client: httpx.Client, folder: Path) -> None:
    for path, body, status in (("/recommend", {"user_id": ""}, 422), ("/nix", {}, 404)):
        response = client.post(path, json=body)
        (line,) = lines(folder, response.headers["x-request-id"])
        assert (line["status"], line["route"]) == (status, path if path == "/recommend" else "unknown")


def test_the_log_contains_no_user_text_and_no_key(client: httpx.Client, folder: Path) -> None:
    key = {"Authorization": f"Bearer {PRIVATE_TEXT}"}
    event = {
        "user_id": f"user-{PRIVATE_TEXT}",
        "item_id": squares("black")[0],
        "event": "comment",
        "text": f"text {PRIVATE_TEXT}",
    }
    client.post("/feedback", json={"events": [event, event | {"item_id": PRIVATE_TEXT}]}, headers=key)
    client.post("/recommend", json={"user_id": f"user-{PRIVATE_TEXT}", "strategy": PRIVATE_TEXT}, headers=key)
    client.post("/recommend", json={"user_id": f"user-{PRIVATE_TEXT}"}, headers=key).raise_for_status()
    client.get(f"/items?query={PRIVATE_TEXT}", headers=key)
    client.post(f"/{PRIVATE_TEXT}", json={PRIVATE_TEXT: PRIVATE_TEXT}, headers=key)
    assert len(lines(folder, client.get("/items?query=x").headers["x-request-id"])) == 1
    assert PRIVATE_TEXT not in (folder / "bento.log").read_text()


def test_plain_log_lines_contain_the_request_id(service: RunningService, service_folder: Path) -> None:
    request_id = httpx.post(f"{service.address}/recommend", json={"user_id": "bella"}).headers["x-request-id"]

    def read() -> list[str]:
        return [line for line in (service_folder / "bento.log").read_text().splitlines() if request_id in line]

    (line,) = eventually(read, 60)
    assert f"INFO serving.contract.requests {request_id} POST /recommend 200 in " in line
