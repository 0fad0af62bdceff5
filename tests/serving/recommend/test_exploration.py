"""A service with exploration: its lists respect all filters, and their propensities are recorded."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from components.monitoring.measure import measure_online
from components.ranking.rerank import Exploration, rerank
from components.settings import Settings
from components.store.engine import make_engine
from serving.contract.responses import RecommendAnswer
from tests.support.postgres import await_rows, stored
from tests.support.service import HISTORIES, RunningService, bento, wait_until_ready
from tests.support.service_client import REUSED, ids, recommend
from tests.support.toy_data import NAMES, chessboard, load, squares

SHARE = 0.5


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("exploring")
    bundle = chessboard()
    bundle.write(folder / "bundle")
    load(database, bundle, HISTORIES)
    with bento(folder, database, DUOTEMPO_RANKING__EXPLORATION=str(SHARE)) as address:
        wait_until_ready(address)
        yield RunningService(address, database)


def recorded_items(service: RunningService, answer: RecommendAnswer) -> list[dict[str, object]]:
    query = "SELECT items FROM impressions WHERE request_id = %s"
    ((items,),) = await_rows(service.database, query, answer.request_id)
    assert isinstance(items, list)
    return items


def test_a_list_is_reproducible_from_its_request_id(client: httpx.Client, service: RunningService) -> None:
    everything = recommend(client, "bella", k=100).items
    best_first = sorted(everything, key=lambda item: -item.score)
    scores = np.array([item.score for item in best_first])
    lists = [recommend(client, "bella", k=10) for _ in range(5)]
    for answer in lists:
        drawn = Exploration(SHARE, answer.request_id)
        again = rerank(scores, np.zeros((len(scores), 1)), [[]] * len(scores), 10, pick=drawn.pick)
        assert ids(answer) == [best_first[position].item_id for position in again]
        shown = recorded_items(service, answer)
        assert [item["item_id"] for item in shown] == ids(answer)
        assert [(item["propensity"], item["greedy"]) for item in shown] == drawn.places
    assert len({tuple(ids(answer)) for answer in lists}) > 1


def test_propensities_are_conditional_on_the_items_above(client: httpx.Client, service: RunningService) -> None:
    candidates = len(NAMES) - len(HISTORIES["willy"])
    for place, item in enumerate(recorded_items(service, recommend(client, "willy", k=10))):
        drawn = SHARE / (candidates - place)
        assert item["propensity"] == pytest.approx(drawn + (1 - SHARE) * bool(item["greedy"]))


@settings(REUSED, max_examples=25)
@given(
    user=st.sampled_from([*HISTORIES, "nobody yet"]),
    k=st.integers(1, 100),
    unwanted=st.sets(st.sampled_from(["black", "white"]), max_size=1),
    excluded=st.sets(st.sampled_from(NAMES), max_size=10),
    diversity=st.sampled_from([0.0, 0.4]),
)
def test_filters_hold_and_the_list_is_full(
    client: httpx.Client, user: str, k: int, unwanted: set[str], excluded: set[str], diversity: float
) -> None:
    filters = {"category_out": sorted(unwanted), "exclude_items": sorted(excluded)}
    answer = recommend(client, user, k=k, filters=filters, diversity=diversity)
    seen = {item for item, _, _ in HISTORIES.get(user, [])}
    eligible = {name for colour in {"black", "white"} - unwanted for name in squares(colour)} - excluded - seen
    assert set(ids(answer)) <= eligible
    assert len(set(ids(answer))) == len(answer.items) == min(k, len(eligible))


def test_users_without_consent_get_no_exploration(client: httpx.Client, service: RunningService) -> None:
    assert stored(service.database, "INSERT INTO users (user_id, consent) VALUES ('shy', false) RETURNING user_id")
    lists = [recommend(client, "shy", k=20) for _ in range(3)]
    assert len({tuple(ids(answer)) for answer in lists}) == 1
    assert not stored(service.database, "SELECT 1 FROM impressions WHERE user_id = 'shy'")


def test_the_report_estimates_lists_without_exploration(client: httpx.Client, service: RunningService) -> None:
    """Every user likes the first item if it is the best one, and always the second."""
    # impressions are written in order: once this one is stored, so are all earlier ones
    recorded_items(service, recommend(client, "the last one before", k=1))
    engine = make_engine(service.database)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE impressions"))
    events = []
    answers = {f"visitor-{number}": recommend(client, f"visitor-{number}", k=2) for number in range(60)}
    for user, answer in answers.items():
        first, _ = recorded_items(service, answer)
        taken = ids(answer) if first["greedy"] else ids(answer)[1:]
        events += [
            {"user_id": user, "item_id": item, "event": "like", "request_id": answer.request_id} for item in taken
        ]
    client.post("/feedback", json={"events": events}).raise_for_status()
    (champion,) = measure_online(engine, Settings(), datetime.now(UTC), days=1).online.variants
    engine.dispose()
    rate, snips = champion.figures["positive_rate"], champion.figures["snips"]
    assert champion.impressions == 60
    assert rate.mean == pytest.approx(len(events) / 120)
    assert rate.mean is not None and rate.mean < 0.95
    assert snips == (1.0, 1.0, 1.0)
    mean, low, high = champion.figures["ips"]
    assert mean is not None and low is not None and high is not None
    assert low < mean < high and high - low > 0.1
    assert abs(mean - 1.0) < high - low  # four standard errors, as request ids are random in each run
