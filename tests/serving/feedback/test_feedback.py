"""/feedback and /items: stored before the response, and effective from the next request."""

import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.columns import EVENTS
from serving.contract.responses import ErrorAnswer, FeedbackAnswer, ItemsAnswer
from tests.support.postgres import await_rows, stored
from tests.support.service import RunningService
from tests.support.service_client import REUSED, colours, count_events, ids, new_user, recommend, send_feedback
from tests.support.toy_data import NAMES, squares
from tests.support.waiting import eventually


def test_a_like_changes_the_next_list(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    before = recommend(client, user)
    liked = squares("white")[5]
    answer = send_feedback(
        client, {"user_id": user, "item_id": liked, "event": "like", "request_id": before.request_id}
    )
    assert (answer.accepted, answer.duplicates, answer.rejected) == (1, 0, [])
    query = "SELECT item_id, event, request_id, source FROM events WHERE user_id = %s"
    assert stored(service.database, query, user) == [(liked, "like", before.request_id, "feedback")]
    after = recommend(client, user, k=5, explain=True)
    assert after.user_state == "known"
    assert colours(after) == {"white"}
    assert liked not in ids(after)
    assert [cause.item_id for cause in after.items[0].why.because] == [liked]  # type: ignore[union-attr]


def test_a_dislike_demotes_similar_items(client: httpx.Client) -> None:
    user = new_user()
    send_feedback(client, *({"user_id": user, "item_id": name, "event": "dislike"} for name in squares("black")[:3]))
    assert colours(recommend(client, user, k=5)) == {"white"}


@settings(REUSED, max_examples=15)
@given(events=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(EVENTS)), min_size=1, max_size=12))
def test_items_with_events_are_excluded_from_the_next_list(client: httpx.Client, events: list[tuple[str, str]]) -> None:
    user = new_user()
    send_feedback(client, *({"user_id": user, "item_id": item, "event": event, "value": 5} for item, event in events))
    answer = recommend(client, user, k=100)
    seen = {item for item, _ in events}
    assert not seen & set(ids(answer))
    assert len(answer.items) == len(NAMES) - len(seen)


def test_the_same_event_twice_is_stored_once(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": "a1", "event": "click"}
    assert send_feedback(client, event, event) == FeedbackAnswer(
        accepted=1, duplicates=1, rejected=[], spooled=0, dropped=0
    )
    assert send_feedback(client, event) == FeedbackAnswer(accepted=0, duplicates=1, rejected=[], spooled=0, dropped=0)
    assert count_events(service, user) == 1


def test_an_event_without_id_is_identified_by_its_content(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    event = {"user_id": user, "item_id": "a1", "event": "rating", "value": 4, "timestamp": 1_700_000_000}
    assert send_feedback(client, event).accepted == 1
    assert send_feedback(client, event).duplicates == 1
    assert send_feedback(client, event | {"value": 5}).accepted == 1
    assert count_events(service, user) == 2


BLOCKED = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
"""Backends that are blocked by a given backend."""


def concurrently(
    service: RunningService, client: httpx.Client, batches: Sequence[Sequence[Mapping[str, object]]]
) -> list[httpx.Response]:
    """Sends requests that are queued behind a lock, so that they are batched. Returns the responses."""
    with ThreadPoolExecutor(len(batches) + 1) as pool, psycopg.connect(service.database) as blocking:
        blocking.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        pool.submit(send_feedback, client, {"user_id": new_user(), "item_id": "a1", "event": "view"})
        eventually(lambda: stored(service.database, BLOCKED, blocking.info.backend_pid))
        futures = [pool.submit(client.post, "/feedback", json={"events": batch}) for batch in batches]
        time.sleep(0.5)
        blocking.rollback()
        return [future.result() for future in futures]


def test_concurrent_requests_share_a_transaction_with_separate_responses(
    client: httpx.Client, service: RunningService
) -> None:
    users = [new_user() for _ in range(10)]
    batches = [[{"user_id": user, "item_id": name, "event": "view"} for name in NAMES[:12]] for user in users]
    for number, batch in enumerate(batches):
        batch[number] |= {"item_id": f"z{number}"}
    answers = [FeedbackAnswer.model_validate(response.json()) for response in concurrently(service, client, batches)]
    assert [answer.accepted for answer in answers] == [11] * 10
    for number, answer in enumerate(answers):
        assert [row.index for row in answer.rejected] == [number]
        assert f"'z{number}'" in answer.rejected[0].reason
    query = "SELECT count(*), count(DISTINCT xmin::text) FROM events WHERE user_id = ANY(%s)"
    ((events, transactions),) = stored(service.database, query, users)
    assert events == 110
    assert isinstance(transactions, int) and transactions < len(users)


def test_duplicates_across_concurrent_requests_are_stored_once(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    events = [{"event_id": uuid.uuid4().hex, "user_id": user, "item_id": name, "event": "view"} for name in NAMES[:20]]
    batches = [[*events[start:], *events[:start]] for start in range(0, 20, 2)]
    answers = [FeedbackAnswer.model_validate(response.json()) for response in concurrently(service, client, batches)]
    assert sum(answer.accepted for answer in answers) == 20
    assert {answer.accepted + answer.duplicates for answer in answers} == {20}
    assert count_events(service, user) == 20


def test_a_row_that_postgres_rejects_does_not_fail_other_requests(
    client: httpx.Client, service: RunningService
) -> None:
    users, shut = [new_user() for _ in range(6)], new_user()
    batches = [[{"user_id": user, "item_id": "a1", "event": "view"}] for user in [*users[:3], shut, *users[3:]]]
    with psycopg.connect(service.database, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE events ADD CONSTRAINT shut CHECK (user_id <> '{shut}') NOT VALID".encode())
        try:
            answers = concurrently(service, client, batches)
            assert answers.pop(3).json()["spooled"] == 1
            unstorable = "SELECT FROM quarantine WHERE reason LIKE 'unstorable%%' AND \"row\" ->> 'user_id' = %s"
            await_rows(service.database, unstorable, shut)
        finally:
            connection.execute("ALTER TABLE events DROP CONSTRAINT shut")
    assert [answer.json()["accepted"] for answer in answers] == [1] * 6
    assert [count_events(service, user) for user in users] == [1] * 6
    assert count_events(service, shut) == 0


def test_of_one_event_id_by_two_users_the_first_is_kept(client: httpx.Client) -> None:
    first, second = new_user(), new_user()
    for user in (first, second):
        recommend(client, user)
    event = {"event_id": uuid.uuid4().hex, "item_id": "a1", "event": "view"}
    answer = send_feedback(client, event | {"user_id": first}, event | {"user_id": second})
    assert (answer.accepted, answer.duplicates) == (1, 1)
    assert [recommend(client, user).user_state for user in (first, second)] == ["known", "new"]


def test_a_rejected_row_does_not_claim_its_event_id(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    event = {"event_id": uuid.uuid4().hex, "user_id": user, "event": "view"}
    answer = send_feedback(client, event | {"item_id": "nowhere"}, event | {"item_id": "a1"}, event | {"item_id": "b1"})
    assert (answer.accepted, answer.duplicates, [row.index for row in answer.rejected]) == (1, 1, [0])
    assert stored(service.database, "SELECT item_id FROM events WHERE user_id = %s", user) == [("a1",)]
    kept = "SELECT split_part(reason, ':', 1) FROM quarantine WHERE \"row\" ->> 'user_id' = %s"
    assert stored(service.database, kept, user) == [("unknown_item",)]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"user_id": ""}, "missing_user_id"),
        ({"user_id": "x" * 201}, "bad_user_id"),
        ({"item_id": "z9"}, "unknown_item"),
        ({"item_id": "a\x001"}, "bad_item_id"),
        ({"event": "stare"}, "unknown_event"),
        ({"timestamp": 1_700_000_000_000}, "timestamp_in_milliseconds"),
        ({"timestamp": 4_000_000_000}, "future_timestamp"),
        ({"timestamp": -5}, "timestamp_before_1990-01-01"),
        ({"timestamp": "yesterday"}, "bad_timestamp"),
    ],
)
def test_an_invalid_row_is_rejected_and_quarantined(
    client: httpx.Client, service: RunningService, wrong: dict[str, object], code: str
) -> None:
    user = new_user()
    good = {"user_id": user, "item_id": "b1", "event": "view"}
    bad = good | {"event_id": uuid.uuid4().hex} | wrong
    answer = send_feedback(client, good, bad)
    assert answer.accepted == 1
    assert [(row.index, row.reason.split(":")[0]) for row in answer.rejected] == [(1, code)]
    query = "SELECT reason FROM quarantine WHERE source = 'feedback' AND \"row\"->>'event_id' = %s"
    assert stored(service.database, query, bad["event_id"]) == [(answer.rejected[0].reason,)]


def test_text_and_iso_times_are_kept(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    review = {"user_id": user, "item_id": "a1", "event": "review", "value": 5, "text": "很好 ♥ it\x00"}
    assert send_feedback(client, review | {"timestamp": "2024-05-01T12:00:00+02:00"}).accepted == 1
    ((text, moment),) = stored(
        service.database, "SELECT text, extract(epoch FROM occurred_at)::bigint FROM events WHERE user_id = %s", user
    )
    assert str(text).startswith("很好 ♥ it")
    assert moment == 1_714_557_600


def test_a_request_takes_at_most_a_thousand_events(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    events = [{"user_id": user, "item_id": NAMES[n % 64], "event": "view", "timestamp": 1.7e9 + n} for n in range(1000)]
    assert send_feedback(client, *events).accepted == 1000
    assert count_events(service, user) == 1000
    response = client.post("/feedback", json={"events": [*events, events[0]]})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "events")


def test_items_of_old_events_stay_excluded(client: httpx.Client) -> None:
    """With more events than the service reads for the interest, items of the oldest are still excluded."""
    user = new_user()
    first = {"user_id": user, "item_id": "h8", "event": "view", "timestamp": 1.6e9}
    again = [{"user_id": user, "item_id": "a1", "event": "view", "timestamp": 1.7e9 + n} for n in range(1000)]
    send_feedback(client, first)
    send_feedback(client, *again)
    assert "h8" not in ids(recommend(client, user, k=100))


def test_items_are_added_and_replaced(client: httpx.Client, service: RunningService, admin: Mapping[str, str]) -> None:
    item = f"item-{uuid.uuid4().hex}"
    title = f"Bishop {item}"
    response = client.post(
        "/items", json={"items": [{"item_id": item, "title": title}, {"item_id": ""}]}, headers=admin
    )
    answer = ItemsAnswer.model_validate(response.json())
    assert answer.accepted == 1
    assert [(row.index, row.reason.split(":")[0]) for row in answer.rejected] == [(1, "missing_item_id")]
    found = client.get("/items", params={"query": title.lower()}).json()["items"]
    shown = {"item_id": item, "title": title, "category": [], "available": True, "creator_id": None, "attributes": {}}
    assert found == [shown]
    client.post(
        "/items", json={"items": [{"item_id": item, "title": f"{title} II", "category": ["piece"]}]}, headers=admin
    )
    assert stored(service.database, "SELECT title, category FROM items WHERE item_id = %s", item) == [
        (f"{title} II", ["piece"])
    ]
    assert send_feedback(client, {"user_id": new_user(), "item_id": item, "event": "view"}).accepted == 1


def test_an_unavailable_item_is_excluded_from_the_next_list(client: httpx.Client, admin: Mapping[str, str]) -> None:
    user = new_user()
    best = recommend(client, user, k=64).items[0]
    item = {"item_id": best.item_id, "title": best.title, "category": best.category}
    client.post("/items", json={"items": [item | {"available": False}]}, headers=admin)
    try:
        after = recommend(client, user, k=64)
        assert best.item_id not in ids(after)
        assert len(after.items) == 63
        assert best.item_id in ids(recommend(client, user, k=64, filters={"available_only": False}))
        similar = client.post("/similar", json={"item_id": "a1", "k": 64}).json()["items"]
        assert best.item_id not in {found["item_id"] for found in similar}
    finally:
        client.post("/items", json={"items": [item | {"available": True}]}, headers=admin)
    assert best.item_id in ids(recommend(client, user, k=64))


def test_a_new_title_is_shown_in_the_next_list(client: httpx.Client, admin: Mapping[str, str]) -> None:
    listed = client.get("/items", params={"query": "square c3"}).json()["items"][0]
    item = {"item_id": "c3", "category": listed["category"]}
    client.post("/items", json={"items": [item | {"title": "The middle"}]}, headers=admin)
    try:
        titles = {found.item_id: found.title for found in recommend(client, new_user(), k=64).items}
        assert titles["c3"] == "The middle"
    finally:
        client.post("/items", json={"items": [item | {"title": listed["title"]}]}, headers=admin)


def test_a_new_category_counts_from_the_next_list(client: httpx.Client, admin: Mapping[str, str]) -> None:
    """In filters, in explanations and in the terms of the interest."""
    listed = client.get("/items", params={"query": "square d4"}).json()["items"][0]
    item = {"item_id": "d4", "title": listed["title"], "category": listed["category"]}
    (old,) = item["category"]
    user, new = new_user(), f"centre-{uuid.uuid4().hex}"
    send_feedback(client, {"user_id": user, "item_id": "d4", "event": "like"})
    assert recommend(client, user).interest.long[:1] == [old]
    client.post("/items", json={"items": [item | {"title": "The middle", "category": [new]}]}, headers=admin)
    try:
        assert ids(recommend(client, new_user(), k=64, filters={"category_in": [new]})) == ["d4"]
        assert "d4" not in ids(recommend(client, new_user(), k=64, filters={"category_in": [old]}))
        assert "d4" in ids(recommend(client, new_user(), k=64, filters={"category_out": [old]}))
        assert "d4" not in ids(recommend(client, new_user(), k=64, filters={"category_out": [new]}))
        answer = recommend(client, user, k=64, explain=True)
        assert answer.interest.long[:1] == [new]
        reasons = {because.title for found in answer.items if found.why for because in found.why.because}
        assert reasons == {"The middle"}
        assert old not in {name for found in answer.items if found.why for name in found.why.categories}
        fan = recommend(client, new_user(), k=64, context=[{"item_id": "d5", "event": "like"}], explain=True)
        assert {found.item_id: found.why.categories for found in fan.items if found.why}["d4"] == []
    finally:
        client.post("/items", json={"items": [item]}, headers=admin)
    assert "d4" in ids(recommend(client, new_user(), k=64, filters={"category_in": [old]}))
    assert not recommend(client, new_user(), filters={"category_in": [new]}).items


def test_search_takes_wildcards_literally(client: httpx.Client) -> None:
    assert client.get("/items", params={"query": "black_square"}).json() == {"items": []}
    assert len(client.get("/items", params={"query": "", "limit": 3}).json()["items"]) == 3


def test_users_are_listed_the_most_active_first(client: httpx.Client, admin: Mapping[str, str]) -> None:
    users = client.get("/users", params={"limit": 1000}, headers=admin).json()["users"]
    events = [user["events"] for user in users]
    assert {"bella", "willy", "turner"} <= {user["user_id"] for user in users}
    assert events == sorted(events, reverse=True)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 5000}, {"limit": "x"}, {"lim": 5}])
def test_an_invalid_query_parameter_is_named(
    client: httpx.Client, query: dict[str, object], admin: Mapping[str, str]
) -> None:
    response = client.get("/users", params=query, headers=admin)  # type: ignore[arg-type]
    error = ErrorAnswer.model_validate(response.json()).error
    assert (response.status_code, error.field) == (422, next(iter(query)))


def test_a_request_may_create_partitions_for_twelve_months(client: httpx.Client, service: RunningService) -> None:
    user = new_user()

    def months(year: int, count: int) -> list[dict[str, object]]:
        times = [f"{year + month // 12}-{month % 12 + 1:02d}-05" for month in range(count)]
        return [{"user_id": user, "item_id": "a1", "event": "view", "timestamp": time} for time in times]

    answer = send_feedback(client, *months(1991, 13), {"user_id": user, "item_id": "b1", "event": "view"})
    assert (answer.accepted, answer.spooled) == (1, 0)
    assert {row.reason.split(":")[0] for row in answer.rejected} == {"too_many_months"}
    assert [row.index for row in answer.rejected] == list(range(13))
    assert send_feedback(client, *months(1991, 12)).accepted == 12
    assert send_feedback(client, *months(1991, 24)).accepted == 12, "twelve partitions exist by now"
    assert count_events(service, user) == 25


def test_only_the_first_rejected_rows_are_quarantined(client: httpx.Client, service: RunningService) -> None:
    user = new_user()
    answer = send_feedback(client, *({"user_id": user, "item_id": f"none-{n}", "event": "view"} for n in range(150)))
    assert (len(answer.rejected), answer.dropped) == (150, 50)
    kept = "SELECT count(*) FROM quarantine WHERE \"row\" ->> 'user_id' = %s"
    assert stored(service.database, kept, user) == [(100,)]
