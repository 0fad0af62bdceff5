"""What is wanted lately is seen by the running service."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from infra.migrations import migrate
from serving.runtime import TREND_SECONDS
from tests.support.calls import ids, recommend
from tests.support.service import HISTORIES, bento, wait_until_ready
from tests.support.toy_data import chessboard, load

PATIENCE = 3 * TREND_SECONDS
DATABASE = "serving_trend"


@pytest.fixture
def client(postgres_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service of this test's own: what it makes popular would move the lists of others."""
    bundle = chessboard()
    bundle.write(tmp_path / "bundle")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        url = make_url(postgres_url).set(database=DATABASE).render_as_string(hide_password=False)
        migrate(url)
        load(url, bundle, HISTORIES)
        with bento(tmp_path, url) as address, httpx.Client(base_url=address, timeout=30) as asking:
            wait_until_ready(address)
            yield asking
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


def test_what_many_want_now_comes_first_for_whom_nothing_is_known(client: httpx.Client) -> None:
    wanted = ids(recommend(client, "newcomer", k=64))[-1]
    events = [{"user_id": f"fan-{number}", "item_id": wanted, "event": "purchase"} for number in range(200)]
    told = client.post("/feedback", json={"events": events}).json()
    assert told["accepted"] == len(events)
    deadline = time.monotonic() + PATIENCE
    while ids(recommend(client, "newcomer", k=5, explain=True))[0] != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    first = recommend(client, "newcomer", k=5, explain=True).items[0]
    assert first.item_id == wanted
    assert first.why is not None and first.why.trend


def test_what_many_hide_now_is_no_trend(client: httpx.Client) -> None:
    before = ids(recommend(client, "newcomer", k=64))
    hidden = before[-1]
    events = [{"user_id": f"foe-{number}", "item_id": hidden, "event": "hide"} for number in range(200)]
    wanted = [{"user_id": f"fan-{number}", "item_id": before[-2], "event": "like"} for number in range(50)]
    client.post("/feedback", json={"events": events + wanted}).raise_for_status()
    deadline = time.monotonic() + PATIENCE
    while ids(recommend(client, "newcomer", k=5))[0] != before[-2] and time.monotonic() < deadline:
        time.sleep(0.5)
    now = ids(recommend(client, "newcomer", k=64))
    assert now[0] == before[-2]
    assert now.index(hidden) > 32
