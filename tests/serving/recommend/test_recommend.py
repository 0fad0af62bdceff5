"""/recommend and /similar."""

import time
import uuid

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.contract.responses import ErrorAnswer, SimilarAnswer
from tests.support.postgres import await_rows, stored
from tests.support.service import HISTORIES, RunningService
from tests.support.service_client import REUSED, colours, ids, recommend
from tests.support.toy_data import DAY, NAMES, squares

MAX_DRIFT = 1e-3
"""Upper bound of the change of a score by time decay during a test."""


def test_a_known_user_gets_items_to_their_taste(client: httpx.Client) -> None:
    bella, willy = recommend(client, "bella", k=5), recommend(client, "willy", k=5)
    assert (bella.user_state, willy.user_state) == ("known", "known")
    assert (colours(bella), colours(willy)) == ({"black"}, {"white"})
    assert bella.model_version == "7"
    assert not bella.degraded


def test_scores_fall_and_ranks_rise(client: httpx.Client) -> None:
    items = recommend(client, "bella", k=50).items
    assert [item.rank for item in items] == list(range(1, 51))
    assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)


def test_equal_requests_get_equal_lists(client: httpx.Client) -> None:
    assert ids(recommend(client, "bella", k=20)) == ids(recommend(client, "bella", k=20))


def test_items_with_events_are_excluded(client: httpx.Client) -> None:
    for user, history in HISTORIES.items():
        answer = recommend(client, user, k=100)
        assert not {item for item, _, _ in history} & set(ids(answer))
        assert len(answer.items) == len(NAMES) - len(history)


def test_long_and_short_term_interests_differ(client: httpx.Client) -> None:
    interest = recommend(client, "turner").interest
    assert interest.long_weight + interest.short_weight == pytest.approx(1.0)
    assert interest.long[0] == "black"
    assert interest.short[0] == "white"
    assert "black" not in interest.short


def test_a_new_user_gets_popular_items_with_that_reason(client: httpx.Client) -> None:
    answer = recommend(client, "nobody yet", explain=True)
    assert answer.user_state == "new"
    assert (answer.interest.long_weight, answer.interest.short_weight) == (0.0, 0.0)
    assert len(answer.items) == 10
    for item in answer.items:
        assert item.why is not None
        assert item.why.popularity == 1.0
        assert "Many people" in item.why.text


def test_a_category_filter_keeps_the_order_of_a_new_user(client: httpx.Client) -> None:
    unfiltered = recommend(client, "nobody yet", k=64)
    for colour in ("black", "white"):
        filtered = recommend(client, "nobody yet", k=64, filters={"category_in": [colour]})
        assert ids(filtered) == [item.item_id for item in unfiltered.items if item.category == [colour]]


def test_in_a_session_popularity_counts_within_the_context_categories(
    client: httpx.Client,
) -> None:
    """Scores equal those of a known user with the same events, except for popularity in other categories."""
    context = [
        {"item_id": item, "event": event, "timestamp": time.time() - days * DAY}
        for item, event, days in HISTORIES["willy"]
    ]
    known = {item.item_id: item.score for item in recommend(client, "willy", k=64, strategy="content").items}
    session = {
        item.item_id: item.score
        for item in recommend(client, "passer-by", k=64, strategy="content", context=context).items
    }
    assert known.keys() == session.keys()
    assert all(session[name] < known[name] + MAX_DRIFT for name in squares("black"))
    assert any(session[name] < known[name] - MAX_DRIFT for name in squares("black"))
    assert all(abs(session[name] - known[name]) < MAX_DRIFT for name in known.keys() & set(squares("white")))


def test_context_counts_and_is_not_stored(client: httpx.Client, service: RunningService) -> None:
    user = "passer-by"
    context = [{"item_id": name, "event": "click"} for name in squares("white")[:3]]
    answer = recommend(client, user, k=5, context=context)
    assert answer.user_state == "anonymous"
    assert colours(answer) == {"white"}
    assert not {event["item_id"] for event in context} & set(ids(answer))
    assert stored(service.database, "SELECT count(*) FROM events WHERE user_id = %s", user) == [(0,)]
    assert recommend(client, user).user_state == "new"


def test_unknown_items_in_the_context_are_ignored(client: httpx.Client) -> None:
    context = [{"item_id": "z9", "event": "click"}]
    assert ids(recommend(client, "bella", context=context)) == ids(recommend(client, "bella"))


def test_context_moves_a_known_user(client: httpx.Client) -> None:
    context = [{"item_id": name, "event": "like"} for name in squares("white")[20:30]]
    assert colours(recommend(client, "bella", k=3)) == {"black"}
    assert "white" in colours(recommend(client, "bella", k=30, context=context))


def test_a_list_can_be_explained(client: httpx.Client) -> None:
    answer = recommend(client, "bella", k=3, explain=True)
    owned = {item for item, _, _ in HISTORIES["bella"]}
    for item in answer.items:
        assert item.why is not None
        assert item.why.because
        assert {cause.item_id for cause in item.why.because} <= owned
        assert item.why.categories == ["black"]
        shares = item.why.long + item.why.short + item.why.content + item.why.collaborative + item.why.popularity
        assert shares == pytest.approx(1.0, abs=1e-3)
    assert all(item.why is None for item in recommend(client, "bella", k=3).items)


def test_every_strategy_answers(client: httpx.Client) -> None:
    for strategy in ("content", "collaborative", "hybrid"):
        assert colours(recommend(client, "bella", k=3, strategy=strategy)) == {"black"}


def test_diversity_changes_the_order_and_not_the_best(client: httpx.Client) -> None:
    plain, diverse = recommend(client, "bella", k=10), recommend(client, "bella", k=10, diversity=0.7)
    assert ids(plain)[0] == ids(diverse)[0]
    assert colours(plain) < colours(diverse)


@settings(REUSED, max_examples=25)
@given(
    user=st.sampled_from([*HISTORIES, "nobody yet"]),
    k=st.integers(1, 100),
    wanted=st.none() | st.sets(st.sampled_from(["black", "white", "green"]), min_size=1),
    unwanted=st.sets(st.sampled_from(["black", "white", "green"])),
    excluded=st.sets(st.sampled_from(NAMES), max_size=10),
)
def test_filters_hold_and_the_list_is_full(
    client: httpx.Client, user: str, k: int, wanted: set[str] | None, unwanted: set[str], excluded: set[str]
) -> None:
    filters: dict[str, object] = {"category_out": sorted(unwanted), "exclude_items": sorted(excluded)}
    if wanted is not None:
        filters["category_in"] = sorted(wanted)
    answer = recommend(client, user, k=k, filters=filters)
    seen = {item for item, _, _ in HISTORIES.get(user, [])}
    allowed = {
        name
        for colour in ("black", "white")
        if (wanted is None or colour in wanted) and colour not in unwanted
        for name in squares(colour)
    }
    eligible = allowed - excluded - seen
    assert set(ids(answer)) <= eligible
    assert len(answer.items) == min(k, len(eligible))


def test_a_response_is_recorded_as_an_impression(client: httpx.Client, service: RunningService) -> None:
    answer = recommend(client, "willy", k=4)
    query = "SELECT user_id, model_version, variant, items FROM impressions WHERE request_id = %s"
    ((user, version, variant, items),) = await_rows(service.database, query, answer.request_id)
    assert (user, version, variant) == ("willy", answer.model_version, answer.variant)
    expected = [
        {"item_id": item.item_id, "rank": item.rank, "score": item.score, "propensity": 1.0, "greedy": True}
        for item in answer.items
    ]
    assert items == expected


def test_similar_items_look_alike(client: httpx.Client) -> None:
    response = client.post("/similar", json={"item_id": "a1", "k": 6})
    answer = SimilarAnswer.model_validate(response.json())
    assert {name for item in answer.items for name in item.category} == {"black"}
    assert len(answer.items) == 6
    assert "a1" not in {item.item_id for item in answer.items}


def test_similar_to_an_unknown_item_is_404(client: httpx.Client) -> None:
    response = client.post("/similar", json={"item_id": "z9"})
    error = ErrorAnswer.model_validate(response.json()).error
    assert (response.status_code, error.code, error.field) == (404, "unknown_item", "item_id")
    assert "z9" in error.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 201}, "user_id"),
        ({"user_id": "a\x00b"}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": 5.5}, "user_id"),
        ({"user_id": "bella", "k": 0}, "k"),
        ({"user_id": "bella", "k": -1}, "k"),
        ({"user_id": "bella", "k": 10_000}, "k"),
        ({"user_id": "bella", "k": "many"}, "k"),
        ({"user_id": "bella", "kk": 5}, "kk"),
        ({"user_id": "bella", "diversity": 1.5}, "diversity"),
        ({"user_id": "bella", "strategy": "magic"}, "strategy"),
        ({"user_id": "bella", "context": [{"item_id": "a1", "event": "stare"}]}, "context.0.event"),
        ({"user_id": "bella", "context": [{"item_id": "a1", "timestamp": 1.7e12}]}, "context.0.timestamp"),
        ({"user_id": "bella", "context": [{"item_id": "a1"}] * 101}, "context"),
        ({"user_id": "bella", "filters": {"category_in": []}}, "filters.category_in"),
    ],
)
def test_an_invalid_field_is_named(client: httpx.Client, body: dict[str, object], field: str) -> None:
    response = client.post("/recommend", json=body)
    error = ErrorAnswer.model_validate(response.json()).error
    assert (response.status_code, error.field) == (422, field)
    assert field in error.message


def test_request_ids_differ(client: httpx.Client) -> None:
    found = {recommend(client, "bella", k=1).request_id for _ in range(5)}
    assert len(found) == 5
    assert all(uuid.UUID(request_id) for request_id in found)
