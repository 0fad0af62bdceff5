"""Guarantees of every list under random actions: the service in one process, with a real Postgres.

DUOTEMPO_TEST_EXAMPLES sets the number of random histories per set of settings.
"""

import asyncio
import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from benchmarks.catalogues import clustered_bundle
from components.bundle.bundle import Bundle
from components.ranking.candidates import with_indexes
from components.ranking.rerank import in_tail
from components.settings import EventSettings, RankingSettings
from serving.contract.errors import ApiError
from serving.contract.requests import (
    CatalogueItem,
    ConsentRequest,
    FeedbackEvent,
    FeedbackRequest,
    ItemsRequest,
    PersonRequest,
    RecommendRequest,
)
from serving.contract.responses import Json, RecommendAnswer
from serving.runtime import Parts, Runtime
from tests.support.toy_data import DAY, chessboard, load

STARS = EventSettings(dislike_below=2.5)
EXACT_BELOW = 300
USED_ITEMS = 24
"""Items that the random actions use."""
MIN_CONTRIBUTION = 0.05
"""Contribution of a reason that exceeds all other changes of a score."""
EXAMPLES = int(os.environ.get("DUOTEMPO_TEST_EXAMPLES", "20"))
"""Per set of settings, of which there are fourteen."""
RANDOM = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RANKINGS: dict[str, dict[str, str]] = {
    "defaults": {},
    "seen items may be shown again": {"EXCLUDE_SEEN": "[]"},
    "only purchased items are excluded": {"EXCLUDE_SEEN": '["purchase"]', "EXCLUDE_HIDDEN": "false"},
    "disliked items may be shown again": {"EXCLUDE_DISLIKED": "false"},
    "a category cap": {"CATEGORY_CAP": "2"},
    "a tail share": {"TAIL_SHARE": "0.4", "DIVERSITY": "0.3"},
    "exploration": {"EXPLORATION": "0.5"},
}


def small(_: Path) -> Bundle:
    return chessboard()


def large(folder: Path) -> Bundle:
    """A catalogue whose candidates come from an index."""
    with_indexes(clustered_bundle(1_000, width=16), EXACT_BELOW).write(folder)
    return Bundle.read(folder, mapped=True)


@dataclass(repr=False)
class InProcessService:
    """A service with one set of settings."""

    bundle: Bundle
    parts: Parts
    loop: asyncio.AbstractEventLoop

    @property
    def ranking(self) -> RankingSettings:
        return self.parts.settings.ranking

    @property
    def items(self) -> list[str]:
        return self.bundle.items["item_id"].to_pylist()

    def send_feedback(self, *events: FeedbackEvent) -> Mapping[str, Any]:
        return self.loop.run_until_complete(self.parts.intake.feedback(FeedbackRequest(events=list(events))))

    def ask(self, user: str, **fields: object) -> RecommendAnswer:
        request = RecommendRequest.model_validate({"user_id": user, **fields})
        answer = Json(self.loop.run_until_complete(self.parts.recommender.recommend(request)))
        return RecommendAnswer.model_validate_json(bytes(answer.body))


@dataclass
class ExpectedLists:
    """The expected state of a user: which items the next list may contain."""

    service: InProcessService
    user: str
    excluded: set[str] = field(default_factory=set)
    unavailable: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)

    def send_event(self, item: str, kind: str, stars: float | None) -> None:
        feedback = FeedbackEvent(user_id=self.user, item_id=item, event=kind, value=stars)
        answer = self.service.send_feedback(feedback)
        if answer["accepted"] and self.excludes(kind, stars):
            self.excluded.add(item)

    def excludes(self, kind: str, stars: float | None) -> bool:
        ranking = self.service.ranking
        disliked = kind == "dislike" or (stars is not None and stars < STARS.dislike_below)
        hidden = kind == "hide" and ranking.exclude_hidden
        return kind in ranking.exclude_seen or hidden or (disliked and ranking.exclude_disliked)

    def set_available(self, available: bool, *items: str) -> None:
        table, row = self.service.bundle.items.select(["title", "category"]), self.service.bundle.row

        def listed(item: str) -> dict[str, Any]:
            (found,) = table.slice(row[item], 1).to_pylist()
            return dict(found)

        changed = [
            CatalogueItem.model_validate({"item_id": item, "available": available, **listed(item)}) for item in items
        ]
        assert self.service.parts.intake.items(ItemsRequest(items=changed))["accepted"] == len(items)
        self.deleted -= set(items)
        self.unavailable = self.unavailable - set(items) if available else self.unavailable | set(items)

    def delete(self, item: str, connection: psycopg.Connection) -> None:
        """Deletes an item, as another writer does, and notifies the service."""
        connection.execute("DELETE FROM items WHERE item_id = %s", [item])
        self.service.parts.recommender.items_changed(item)
        self.deleted.add(item)

    def forget(self) -> None:
        self.service.parts.people.forget(PersonRequest.model_validate({"user_id": self.user}))
        self.excluded.clear()

    def give_consent(self) -> None:
        self.service.parts.people.consent(ConsentRequest.model_validate({"user_id": self.user, "consent": True}))

    def eligible_items(self, fields: dict[str, Any]) -> set[str]:
        filters = fields.get("filters") or {}
        items = self.service.bundle.items.select(["item_id", "category"]).to_pylist()
        eligible = {
            row["item_id"]
            for row in items
            if (not filters.get("category_in") or set(row["category"]) & set(filters["category_in"]))
            and not set(row["category"]) & set(filters.get("category_out", []))
        }
        context = {row["item_id"] for row in fields.get("context", [])}
        out = self.excluded | self.deleted | context | set(filters.get("exclude_items", []))
        return eligible - out - (self.unavailable if filters.get("available_only", True) else set())


@pytest.fixture(scope="module", params=[small, large])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = request.param(tmp_path_factory.mktemp("bundle"))
    made.manifest["events"] = STARS.model_dump(mode="json")
    return made


@pytest.fixture(scope="module", params=RANKINGS)
def service(
    request: pytest.FixtureRequest, bundle: Bundle, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcessService]:
    folder = tmp_path_factory.mktemp("shop")
    bundle.write(folder / "bundle")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM items")
    load(database, bundle, {"somebody": [(bundle.items["item_id"][0].as_py(), "view", 1.0)]})
    variables = {
        "DATABASE_URL": database,
        "BUNDLES": str(folder),
        "HOME": str(folder / "home"),
        "PRIVACY__KEY": "the same for every shop: " + "x" * 32,
        "EVENTS__DISLIKE_BELOW": str(STARS.dislike_below),
        "RANKING__EXACT_BELOW": str(EXACT_BELOW),
        **{f"RANKING__{name}": value for name, value in RANKINGS[request.param].items()},
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"DUOTEMPO_{name}", value)
        runtime = Runtime()
        runtime.load()
        with asyncio.Runner() as runner:
            yield InProcessService(bundle, runtime.parts, runner.get_loop())
        runtime.close()


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


numbers = st.integers(0, USED_ITEMS - 1)
actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("event"),
            numbers,
            st.sampled_from(["view", "click", "purchase", "like", "dislike", "hide", "rating", "review"]),
            st.sampled_from([1.0, 4.0]),
        ),
        st.tuples(st.just("available"), numbers, st.booleans()),
        st.tuples(st.just("delete"), numbers),
        st.tuples(st.sampled_from(["forget", "come back"])),
    ),
    max_size=10,
)


@st.composite
def drawn_requests(draw: Callable[..., Any]) -> dict[str, Any]:
    """A random request; items and categories are given by number."""
    some = st.lists(numbers, max_size=3)
    return {
        "k": draw(st.sampled_from([1, 5, 20, 100])),
        "strategy": draw(st.sampled_from([None, "content", "collaborative"])),
        "diversity": draw(st.sampled_from([None, 0.0, 0.5])),
        "context": draw(some),
        "category_in": draw(st.none() | st.lists(numbers, min_size=1, max_size=2)),
        "category_out": draw(some.map(lambda found: found[:1])),
        "exclude_items": draw(some),
        "available_only": draw(st.booleans()),
    }


def request_fields(service: InProcessService, drawn: dict[str, Any]) -> dict[str, Any]:
    names = service.items
    kinds = sorted({name for row in service.bundle.items["category"].to_pylist() for name in row})
    filters = {
        "category_in": drawn["category_in"] and [kinds[number % len(kinds)] for number in drawn["category_in"]],
        "category_out": [kinds[number % len(kinds)] for number in drawn["category_out"]],
        "exclude_items": [names[number] for number in drawn["exclude_items"]],
        "available_only": drawn["available_only"],
    }
    context = [{"item_id": names[number]} for number in drawn["context"]]
    return {name: drawn[name] for name in ("k", "strategy", "diversity")} | {"filters": filters, "context": context}


def perform(expected: ExpectedLists, action: tuple[Any, ...], connection: psycopg.Connection) -> None:
    kind, *arguments = action
    if kind in ("forget", "come back"):
        expected.forget() if kind == "forget" else expected.give_consent()
        return
    item = expected.service.items[arguments[0]]
    if kind == "event":
        stars = arguments[2] if arguments[1] in ("rating", "review") else None
        expected.send_event(item, arguments[1], stars)
    elif kind == "available":
        expected.set_available(arguments[1], item)
    else:
        expected.delete(item, connection)


def assert_caps(expected: ExpectedLists, answer: RecommendAnswer, k: int, allowed: set[str]) -> None:
    """Caps and tail shares hold, and a list that they shorten could not be longer."""
    ranking, items = expected.service.ranking, answer.items
    if ranking.category_cap:
        counts = Counter(name for item in items for name in item.category)
        assert max(counts.values(), default=0) <= ranking.category_cap
        left = allowed - {item.item_id for item in items} if len(items) < k else set()
        kinds = expected.service.bundle.items["category"]
        for item in left:
            assert any(
                counts[name] == ranking.category_cap for name in kinds[expected.service.bundle.row[item]].as_py()
            )
    if ranking.tail_share:
        tail = in_tail(expected.service.bundle.items["popularity"].to_numpy())
        of_tail = [bool(tail[expected.service.bundle.row[item.item_id]]) for item in items]
        assert all(sum(of_tail[:n]) >= int(ranking.tail_share * n) for n in range(1, len(items) + 1))


@RANDOM
@given(actions=actions, drawn=drawn_requests())
def test_every_list_keeps_its_guarantees(
    service: InProcessService, connection: psycopg.Connection, actions: list[tuple[Any, ...]], drawn: dict[str, Any]
) -> None:
    expected = ExpectedLists(service, f"u-{uuid.uuid4().hex}")
    fields = request_fields(service, drawn)
    service.ask(expected.user)
    for action in actions:
        perform(expected, action, connection)
        answer = service.ask(expected.user, **fields)
        shown = [item.item_id for item in answer.items]
        allowed = expected.eligible_items(fields)
        assert not answer.degraded
        assert set(shown) <= allowed
        assert len(set(shown)) == len(shown)
        assert [item.rank for item in answer.items] == list(range(1, len(shown) + 1))
        assert_caps(expected, answer, fields["k"], allowed)
        if not (service.ranking.category_cap or service.ranking.tail_share):
            assert len(shown) == min(fields["k"], len(allowed))
        diverse = service.ranking.diversity if fields["diversity"] is None else fields["diversity"]
        if not (diverse or service.ranking.category_cap or service.ranking.tail_share or service.ranking.exploration):
            scores = [item.score for item in answer.items]
            assert scores == sorted(scores, reverse=True)
        if not service.ranking.exploration:
            again = [[item.item_id for item in service.ask(expected.user, **fields).items] for _ in range(2)]
            assert shown == again[0] or again[0] == again[1]  # the trend may be updated in between
        event(f"{len(shown)} of {fields['k']}")
    if gone := expected.unavailable | expected.deleted:
        expected.set_available(True, *gone)


def test_an_erased_user_is_treated_as_new(service: InProcessService) -> None:
    expected = ExpectedLists(service, f"u-{uuid.uuid4().hex}")
    first = service.ask(expected.user, k=5).items[0].item_id
    expected.send_event(first, "purchase", None)
    expected.forget()
    with suppress(ApiError):
        expected.send_event(first, "purchase", None)
    assert service.ask(expected.user, k=5).user_state == "new"
    assert first in {item.item_id for item in service.ask(expected.user, k=5).items} or service.ranking.exploration


@RANDOM
@given(
    history=st.lists(st.tuples(numbers, st.floats(0.1, 60)), min_size=1, max_size=12),
    strategy=st.sampled_from(["content", "collaborative"]),
)
def test_removing_an_explaining_item_lowers_the_score(
    service: InProcessService, connection: psycopg.Connection, history: list[tuple[int, float]], strategy: str
) -> None:
    """In these strategies the trend, which may be updated meanwhile, counts less than a reason."""
    user, now = f"u-{uuid.uuid4().hex}", time.time()
    events = [
        FeedbackEvent(user_id=user, item_id=service.items[number], event="like", timestamp=now - days * DAY)
        for number, days in history
    ]
    service.send_feedback(*events)
    for item in service.ask(user, k=5, strategy=strategy, explain=True).items:
        assert item.why is not None
        strong = [reason for reason in item.why.because if reason.contribution > MIN_CONTRIBUTION]
        for reason in strong[:1]:
            connection.execute("DELETE FROM events WHERE user_id = %s AND item_id = %s", [user, reason.item_id])
            service.parts.recommender.users_changed(user)
            scores = {row.item_id: row.score for row in service.ask(user, k=100, strategy=strategy).items}
            assert scores.get(item.item_id, -math.inf) < item.score
            event("a reason was verified")
            return
