"""Requests to the service whose responses are validated, and helpers to inspect them."""

import uuid
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from prometheus_client.parser import text_string_to_metric_families

from serving.contract.responses import ErrorAnswer, ExportAnswer, FeedbackAnswer, ForgetAnswer, RecommendAnswer
from tests.support.postgres import stored
from tests.support.service import RunningService
from tests.support.waiting import eventually

REUSED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Hypothesis settings for properties whose examples share one service."""


def recommend(client: httpx.Client, user: str | int, **options: object) -> RecommendAnswer:
    response = client.post("/recommend", json={"user_id": user, **options})
    assert response.status_code == 200, response.text
    return RecommendAnswer.model_validate(response.json())


def ids(answer: RecommendAnswer) -> list[str]:
    return [item.item_id for item in answer.items]


def colours(answer: RecommendAnswer) -> set[str]:
    return {name for item in answer.items for name in item.category}


def new_user() -> str:
    return f"user-{uuid.uuid4().hex}"


def send_feedback(client: httpx.Client, *events: Mapping[str, object]) -> FeedbackAnswer:
    """Sends feedback events."""
    response = client.post("/feedback", json={"events": list(events)})
    assert response.status_code == 200, response.text
    return FeedbackAnswer.model_validate(response.json())


def count_events(service: RunningService, user: str) -> int:
    """The number of the user's events in Postgres."""
    ((number,),) = stored(service.database, "SELECT count(*) FROM events WHERE user_id = %s", user)
    assert isinstance(number, int)
    return number


POSTS = ("/recommend", "/feedback", "/similar", "/items")


def validated_error(response: httpx.Response) -> Any:
    """The validated error object of a response."""
    assert response.headers["content-type"] == "application/json"
    return ErrorAnswer.model_validate(response.json()).error


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def wait_until_not_degraded(client: httpx.Client, user: str, k: int = 10) -> RecommendAnswer:
    """Polls `/recommend` until its answer is no longer degraded, and returns that answer."""

    def whole() -> RecommendAnswer | None:
        answer = recommend(client, user, k=k)
        return None if answer.degraded else answer

    return RecommendAnswer.model_validate(eventually(whole, 60))


SECRET = "a secret of this test, long enough for it"  # pragma: allowlist secret


def forget(client: httpx.Client, admin: dict[str, str], user: str | int) -> ForgetAnswer:
    answer = client.post("/forget", json={"user_id": user}, headers=admin)
    assert answer.status_code == 200, answer.text
    return ForgetAnswer.model_validate(answer.json())


def export(client: httpx.Client, admin: dict[str, str], user: str | int) -> ExportAnswer:
    answer = client.post("/export", json={"user_id": user}, headers=admin)
    assert answer.status_code == 200, answer.text
    return ExportAnswer.model_validate(answer.json())


def view(user: str, item: str = "a1", **more: object) -> dict[str, object]:
    return {"user_id": user, "item_id": item, "event": "view", **more}


EVENTS = "SELECT event_id, item_id FROM events WHERE user_id = %s ORDER BY received_at"


def likes(user: str, *items: str) -> list[dict[str, object]]:
    return [{"event_id": f"{user}-{item}", "user_id": user, "item_id": item, "event": "like"} for item in items]


def wait_until_empty(client: httpx.Client) -> None:
    """Waits until the spool is empty."""
    eventually(lambda: metric(client, "duotempo_spool_rows") == 0, 120)
