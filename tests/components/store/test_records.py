"""The promotion log and the impressions."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sqlalchemy import Engine, func, select

from components.settings import Settings
from components.store.impressions import ServedList, record_impressions
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy
from components.store.promotions import (
    FAILED,
    SERVING,
    consecutive_failures,
    failed_forced_request,
    is_open,
    list_promotions,
    record_promotion,
    request_promotion,
)
from components.store.schema import Impression

PRIVACY = Privacy(Settings())


def test_promotions_are_listed_oldest_first(store: Engine) -> None:
    record_promotion(store, "1", None, "registry", "gate passed", "promoted")
    record_promotion(store, "2", "1", "ann", "--force: trial", "refused")
    lines = [(line.version, line.from_version, line.actor, line.reason, line.state) for line in list_promotions(store)]
    assert lines == [("1", None, "registry", "gate passed", "promoted"), ("2", "1", "ann", "--force: trial", "refused")]


def test_storing_an_impression_twice_stores_it_once(store: Engine) -> None:
    items = [{"item_id": 'a "\\\n,{}', "rank": 1, "score": 0.5, "propensity": 1.0}]
    served_at = datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC)
    for _ in range(2):
        ensure_partitions(store.begin, [served_at], "impressions")
        with store.begin() as connection:
            record_impressions(connection, PRIVACY, [ServedList("r1", "u", "3", "champion", served_at, items)])
    with store.connect() as connection:
        kept = connection.execute(select(Impression.request_id, Impression.served_at, Impression.items)).all()
    assert [tuple(row) for row in kept] == [("r1", served_at, items)]


def test_concurrent_first_impressions_of_a_month_are_all_stored(store: Engine) -> None:
    """All writers check for the partition before any of them creates it."""
    writers = 6
    barrier = threading.Barrier(writers)

    def write(number: int) -> None:
        with store.connect() as connection:
            for month in range(1, 13):
                with connection.begin():
                    barrier.wait(timeout=30)
                    moment = datetime(2031, month, 1, tzinfo=UTC)
                    served = ServedList(f"at once {number} {month}", "u", "1", "champion", moment, [])
                    ensure_partitions(store.begin, [moment], "impressions")
                    record_impressions(connection, PRIVACY, [served])

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    with store.connect() as connection:
        kept = select(func.count()).where(Impression.request_id.startswith("at once"))
        assert connection.scalar(kept) == writers * 12


def test_concurrent_promotion_requests_create_one_entry(store: Engine) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: request_promotion(store, "7", None, "registry", "an alias"), range(12)))
    assert [new for _, new in made].count(True) == 1
    [request] = {line.promotion_id: line for line, _ in made}.values()
    assert is_open(store, request)
    record_promotion(store, "7", None, "registry", "a server was down", FAILED)
    assert not is_open(store, request)
    again, new = request_promotion(store, "7", None, "registry", "an alias")
    assert new and again.promotion_id != request.promotion_id


def test_a_success_resets_the_consecutive_failures(store: Engine) -> None:
    for state in (FAILED, SERVING, FAILED, FAILED):
        request_promotion(store, "8", None, "registry", "an alias")
        record_promotion(store, "8", None, "registry", "so it ended", state)
    record_promotion(store, "9", None, "registry", "another one", SERVING)
    assert consecutive_failures(store, "8") == 2
    assert consecutive_failures(store, "none") == 0


def test_only_a_failed_forced_request_is_retried_with_its_force(store: Engine) -> None:
    request, _ = request_promotion(store, "10", "9", "kim", "I know better", forced=True)
    assert request.forced and failed_forced_request(store, "10") is None, "it is still open"
    record_promotion(store, "10", "9", "kim", "its worker died", FAILED)
    failed = failed_forced_request(store, "10")
    assert failed and (failed.actor, failed.reason) == ("kim", "I know better")
    record_promotion(store, "10", "9", "kim", "so it ended", SERVING)
    assert failed_forced_request(store, "10") is None
    assert failed_forced_request(store, "none") is None
