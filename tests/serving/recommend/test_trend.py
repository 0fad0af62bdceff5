"""What is wanted lately is seen by the running service."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.support.calls import ids, recommend
from tests.support.service import HISTORIES, World, bento, wait_until_ready
from tests.support.toy_data import chessboard, load
from tests.support.waiting import eventually

SECONDS = "0.3"
"""Between two counts of what is wanted; the product's are a minute apart."""


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service of this module's own: what is made popular here would move the lists of others."""
    folder = tmp_path_factory.mktemp("trend")
    bundle = chessboard()
    bundle.write(folder / "bundle")
    load(database, bundle, HISTORIES)
    with bento(folder, database, DUOTEMPO_SERVING__TREND_SECONDS=SECONDS) as address:
        wait_until_ready(address)
        yield World(address, database)


@pytest.fixture(scope="module")
def usual(world: World) -> list[str]:
    """What a new user is shown before any test has made something popular."""
    with httpx.Client(base_url=world.address, timeout=30) as client:
        return ids(recommend(client, "newcomer", k=64))


@pytest.fixture
def client(world: World, usual: list[str]) -> Iterator[httpx.Client]:
    """Afterwards nothing of what the test has made popular is left."""
    with httpx.Client(base_url=world.address, timeout=30) as client:
        yield client
        with psycopg.connect(world.database) as connection:
            connection.execute("DELETE FROM events WHERE user_id LIKE 'fan-%' OR user_id LIKE 'foe-%'")
        eventually(lambda: ids(recommend(client, "newcomer", k=64)) == usual, 60)


def test_what_many_want_now_comes_first_for_whom_nothing_is_known(client: httpx.Client) -> None:
    wanted = ids(recommend(client, "newcomer", k=64))[-1]
    events = [{"user_id": f"fan-{number}", "item_id": wanted, "event": "purchase"} for number in range(200)]
    told = client.post("/feedback", json={"events": events}).json()
    assert told["accepted"] == len(events)
    eventually(lambda: ids(recommend(client, "newcomer", k=5, explain=True))[0] == wanted, 60)
    first = recommend(client, "newcomer", k=5, explain=True).items[0]
    assert first.item_id == wanted
    assert first.why is not None and first.why.trend


def test_what_many_hide_now_is_no_trend(client: httpx.Client) -> None:
    before = ids(recommend(client, "newcomer", k=64))
    hidden = before[-1]
    events = [{"user_id": f"foe-{number}", "item_id": hidden, "event": "hide"} for number in range(200)]
    wanted = [{"user_id": f"fan-{number}", "item_id": before[-2], "event": "like"} for number in range(50)]
    client.post("/feedback", json={"events": events + wanted}).raise_for_status()
    eventually(lambda: ids(recommend(client, "newcomer", k=5))[0] == before[-2], 60)
    now = ids(recommend(client, "newcomer", k=64))
    assert now[0] == before[-2]
    assert now.index(hidden) > 32
