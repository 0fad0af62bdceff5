"""Smoke test of a Bento before it takes over: sends real requests to each of its versions and checks the answers."""

from collections.abc import Sequence
from typing import Any

import httpx
from sqlalchemy import Engine, func, select

from components.store.schema import Event, Item
from infra.home.errors import SmokeTestFailed
from serving.process.smoke_test import VERSION

K = 5
KNOWN_USERS = 3
RECENT_EVENTS = 1000
NEW_USER = "duotempo-smoke-test"


def smoke_test(client: httpx.Client, versions: Sequence[str], users: Sequence[str]) -> None:
    """Requests recommendations for `users` and a new user, and similar items, from each version.

    Raises:
        SmokeTestFailed: An answer is an error, incomplete, degraded or of another version.
        httpx.HTTPError: The Bento does not answer.
    """
    for version in versions:
        for user in (*users, NEW_USER):
            answer = _post(client, "/recommend", version, {"user_id": user, "k": K, "explain": True})
            check_answer(answer, K, version)
        item = answer["items"][0]["item_id"]
        check_answer(_post(client, "/similar", version, {"item_id": item, "k": K}), K, version)


def active_users(engine: Engine, count: int = KNOWN_USERS) -> list[str]:
    """Returns users of the latest events with less than half of the catalogue in their history, most active first."""
    latest = select(Event.user_id).order_by(Event.occurred_at.desc()).limit(RECENT_EVENTS).subquery()
    half = select(func.count() / 2).select_from(Item).scalar_subquery()
    busiest = (
        select(Event.user_id)
        .where(Event.user_id.in_(select(latest.c.user_id)))
        .group_by(Event.user_id)
        .having(func.count(Event.item_id.distinct()) < half)
        .order_by(func.count().desc(), Event.user_id)
        .limit(count)
    )
    with engine.connect() as connection:
        return list(connection.scalars(busiest))


def _post(client: httpx.Client, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body, headers={VERSION: version})
    if not answer.is_success:
        raise SmokeTestFailed(f"{path} of {body} by version {version} answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def check_answer(answer: dict[str, Any], k: int, model_version: str) -> None:
    """Raises SmokeTestFailed unless the answer has k distinct ranked items of this version and is not degraded."""
    items = answer["items"]
    if answer["model_version"] != model_version:
        raise SmokeTestFailed(f"the answer is of model version {answer['model_version']!r}, not of {model_version!r}")
    if answer["degraded"]:
        raise SmokeTestFailed("the answer is degraded: the database did not answer the service")
    if len({item["item_id"] for item in items}) != k:
        raise SmokeTestFailed(f"the answer has {len(items)} items, not {k} different ones: {items}")
    if [item["rank"] for item in items] != list(range(1, k + 1)):
        raise SmokeTestFailed(f"the answer's ranks are not 1 to {k}: {items}")
