"""A Postgres that is slow, hangs or is disconnected: lists are served, feedback is stored or spooled, never lost."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving.storage.postgres import MAX_FAILURES, Breaker
from tests.support.postgres import stored
from tests.support.proxy import Proxy, proxied
from tests.support.service import HISTORIES, bento, wait_until_ready
from tests.support.service_client import (
    EVENTS,
    ids,
    likes,
    metric,
    new_user,
    recommend,
    send_feedback,
    wait_until_empty,
    wait_until_not_degraded,
)
from tests.support.toy_data import chessboard, load, squares


@pytest.fixture(scope="module")
def proxied_service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, httpx.Client]]:
    """A service whose Postgres is behind a proxy."""
    folder = tmp_path_factory.mktemp("slow")
    chessboard().write(folder / "bundle")
    load(database, chessboard(), HISTORIES)
    timeouts = {"DUOTEMPO_SERVING__READ_SECONDS": "0.5", "DUOTEMPO_SERVING__WRITE_SECONDS": "2"}
    with proxied(database) as (proxy, url), bento(folder, url, **timeouts) as address:
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield proxy, client


@pytest.fixture
def proxy(proxied_service: tuple[Proxy, httpx.Client]) -> Iterator[Proxy]:
    """The proxy; its faults are removed after the test."""
    proxy, client = proxied_service
    yield proxy
    proxy.delay, proxy.swallows, proxy.cut_at = 0.0, False, None
    proxy.cut()
    wait_until_not_degraded(client, "willy")
    wait_until_empty(client)


@pytest.fixture
def client(proxied_service: tuple[Proxy, httpx.Client]) -> httpx.Client:
    return proxied_service[1]


@pytest.mark.parametrize("fault", ["slow", "frozen"])
def test_lists_are_served_and_feedback_is_spooled(
    proxy: Proxy, client: httpx.Client, database: str, fault: str
) -> None:
    known = wait_until_not_degraded(client, "bella", k=5)
    if fault == "slow":
        proxy.delay = 2.0
    else:
        proxy.swallows = True
    users, white = [new_user() for _ in range(20)], squares("white")[:3]
    with ThreadPoolExecutor(10) as pool:
        lists = list(pool.map(lambda user: recommend(client, user, k=5), users))
        kept = list(pool.map(lambda user: send_feedback(client, *likes(user, *white)), users))
    assert all(answer.degraded and len(answer.items) == 5 for answer in lists)
    assert {(answer.accepted, answer.spooled) for answer in kept} == {(0, 3)}
    assert metric(client, "duotempo_database_away") == 1
    assert ids(recommend(client, "bella", k=5)) == ids(known)
    after = recommend(client, users[0], k=40)
    assert (after.degraded, after.user_state) == (True, "known")
    assert not set(ids(after)) & set(white)

    proxy.delay, proxy.swallows = 0.0, False
    wait_until_empty(client)
    for user in users:
        assert [item for _, item in stored(database, EVENTS, user)] == white
        assert not wait_until_not_degraded(client, user).degraded
    assert metric(client, "duotempo_database_away") == 0
    assert send_feedback(client, *likes(users[0], "a1")).accepted == 1


def test_accepted_feedback_counts_when_postgres_hangs(proxy: Proxy, client: httpx.Client) -> None:
    """For a user who is not in the cache: there was no earlier request for them."""
    user, white = new_user(), squares("white")[:3]
    assert send_feedback(client, *likes(user, *white)).accepted == 3
    proxy.swallows = True
    for _ in range(2):
        answer = recommend(client, user, k=40)
        assert (answer.degraded, answer.user_state) == (True, "known")
        assert not set(ids(answer)) & set(white)


def test_a_commit_whose_outcome_is_unknown_is_stored_once(proxy: Proxy, client: httpx.Client, database: str) -> None:
    user, white = new_user(), squares("white")[:3]
    assert wait_until_not_degraded(client, user).user_state == "new"
    known = metric(client, "duotempo_feedback_events_total", outcome="duplicate")
    proxy.cut_at = f"{user}-{white[0]}".encode()  # an event_id
    answer = send_feedback(client, *likes(user, *white))
    assert (answer.accepted, answer.spooled) == (0, 3)
    assert not set(ids(recommend(client, user, k=40))) & set(white)
    wait_until_empty(client)
    assert [item for _, item in stored(database, EVENTS, user)] == white
    assert metric(client, "duotempo_feedback_events_total", outcome="duplicate") == known + 3
    assert not set(ids(wait_until_not_degraded(client, user, k=40))) & set(white)


def test_feedback_acknowledged_during_connection_resets_is_stored_once(
    proxy: Proxy, client: httpx.Client, database: str
) -> None:
    users = [new_user() for _ in range(200)]

    def send(user: str) -> tuple[int, int]:
        answer = send_feedback(client, *likes(user, "a1", "b1", "c1"))
        return answer.accepted + answer.spooled, answer.duplicates

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(send, users)
        for _ in range(20):
            proxy.cut()
            time.sleep(0.05)
        assert set(answers) == {(3, 0)}
    wait_until_empty(client)
    for user in users:
        assert [item for _, item in stored(database, EVENTS, user)] == ["a1", "b1", "c1"]


def test_the_breaker_opens_after_consecutive_failures_and_closes_after_a_timely_response() -> None:
    breaker = Breaker(0.5)
    for _ in range(MAX_FAILURES - 1):
        breaker.failed()
    breaker.answered(0.1)
    for _ in range(MAX_FAILURES - 1):
        breaker.failed()
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    breaker.answered(2.0)
    assert breaker.open
    breaker.answered(0.1)
    assert not breaker.open
