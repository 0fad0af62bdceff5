"""The live trend of a running service."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.support.service import HISTORIES, RunningService, bento, wait_until_ready
from tests.support.service_client import ids, recommend
from tests.support.toy_data import chessboard, load
from tests.support.waiting import eventually

SECONDS = "0.3"
"""Interval of the trend counts; the default is a minute."""


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of this module's own, as its trends would change the lists of other tests."""
    folder = tmp_path_factory.mktemp("trend")
    bundle = chessboard()
    bundle.write(folder / "bundle")
    load(database, bundle, HISTORIES)
    with bento(folder, database, DUOTEMPO_SERVING__TREND_SECONDS=SECONDS) as address:
        wait_until_ready(address)
        yield RunningService(address, database)


@pytest.fixture(scope="module")
def usual(service: RunningService) -> list[str]:
    """The list of a new user before any test creates a trend."""
    with httpx.Client(base_url=service.address, timeout=30) as client:
        return ids(recommend(client, "newcomer", k=64))


@pytest.fixture
def client(service: RunningService, usual: list[str]) -> Iterator[httpx.Client]:
    """A client; the trend of the test is removed afterwards."""
    with httpx.Client(base_url=service.address, timeout=30) as client:
        yield client
        with psycopg.connect(service.database) as connection:
            connection.execute("DELETE FROM events WHERE user_id LIKE 'fan-%' OR user_id LIKE 'foe-%'")
        eventually(lambda: ids(recommend(client, "newcomer", k=64)) == usual, 60)


def test_new_users_see_trending_items_first(client: httpx.Client) -> None:
    wanted = ids(recommend(client, "newcomer", k=64))[-1]
    events = [{"user_id": f"fan-{number}", "item_id": wanted, "event": "purchase"} for number in range(200)]
    answer = client.post("/feedback", json={"events": events}).json()
    assert answer["accepted"] == len(events)
    eventually(lambda: ids(recommend(client, "newcomer", k=5, explain=True))[0] == wanted, 60)
    first = recommend(client, "newcomer", k=5, explain=True).items[0]
    assert first.item_id == wanted
    assert first.why is not None and first.why.trend


def test_negative_events_do_not_make_a_trend(client: httpx.Client) -> None:
    before = ids(recommend(client, "newcomer", k=64))
    hidden = before[-1]
    events = [{"user_id": f"foe-{number}", "item_id": hidden, "event": "hide"} for number in range(200)]
    wanted = [{"user_id": f"fan-{number}", "item_id": before[-2], "event": "like"} for number in range(50)]
    client.post("/feedback", json={"events": events + wanted}).raise_for_status()
    eventually(lambda: ids(recommend(client, "newcomer", k=5))[0] == before[-2], 60)
    now = ids(recommend(client, "newcomer", k=64))
    assert now[0] == before[-2]
    assert now.index(hidden) > 32
