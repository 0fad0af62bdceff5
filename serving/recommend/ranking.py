"""Lists of the items of one bundle: what may be shown, best first, re-ranked, as an answer shows it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import orjson

from components.bundle.bundle import Bundle
from components.histories.states import UserState
from components.ranking.candidates import Candidates, Question
from components.ranking.explain import Profile
from components.ranking.filters import eligible
from components.ranking.lists import ListBuilder, Rules
from components.ranking.questions import ItemQuestion, MostWanted, UserQuestion
from components.ranking.rerank import CERTAIN, Exploration, Placed
from components.ranking.scorer import Query, Scorer
from components.settings import RankingSettings
from serving.contract.requests import RecommendRequest
from serving.contract.responses import as_fragment
from serving.recommend.catalogue import LiveCatalogue
from serving.recommend.trend import LiveTrend
from serving.recommend.user_history import UserHistory


@dataclass(frozen=True)
class RankedList:
    """A list as it is shown, and of what trend and catalogue it was made; many of them are kept, so as JSON."""

    rows: np.ndarray
    payload: orjson.Fragment
    """The items as an answer has them."""
    impression_payload: orjson.Fragment
    """What the impression says of each item."""
    trend: np.ndarray
    catalogue: int
    scored: int
    """How many items were scored for it."""

    @property
    def items(self) -> list[dict[str, object]]:
        """What `payload` says."""
        items: list[dict[str, object]] = orjson.loads(orjson.dumps(self.payload))
        return items

    @property
    def item_ids(self) -> list[str]:
        return [str(item["item_id"]) for item in self.items]


@dataclass(frozen=True)
class Answer:
    """What /recommend answers, and what others want to know of it."""

    body: dict[str, object]
    request_id: str
    listed: RankedList


@dataclass(frozen=True)
class Interest:
    """What a user wants, as the model reads it, and in words. stored: what it was read from."""

    stored: UserHistory
    state: UserState
    query: Query
    payload: dict[str, object]
    lists: dict[int, RankedList] = field(default_factory=dict)
    """The latest list that asked for nothing but its length, by that."""


@dataclass(frozen=True)
class InterestAndList:
    """A list, and what it was made of."""

    interest: Interest
    listed: RankedList


def interest_payload(long_share: float, profile: Profile) -> dict[str, object]:
    """The interest as an answer has it."""
    known = not math.isnan(long_share)
    return {
        "long_weight": round(long_share, 4) if known else 0.0,
        "short_weight": round(1.0 - long_share, 4) if known else 0.0,
        "long": profile.long_terms(),
        "short": profile.short_terms(),
    }


class _CountingQuestion:
    """A question, and how many items it was asked of."""

    def __init__(self, question: Question, items: int) -> None:
        self._question, self._items = question, items
        self.scored = 0
        self.near = question.near

    def scores(self, rows: np.ndarray | None) -> np.ndarray:
        self.scored += self._items if rows is None else len(rows)
        return self._question.scores(rows)


class Ranker:
    """Any thread may ask."""

    def __init__(
        self,
        bundle: Bundle,
        scorer: Scorer,
        trend: LiveTrend,
        listing: LiveCatalogue,
        tail: np.ndarray,
        settings: RankingSettings,
    ) -> None:
        """trend: what the scorer goes by. tail: bool (items,), which of them are the tail."""
        self.bundle = bundle
        self.scorer = scorer
        self.trend = trend
        self.listing = listing
        self.tail = tail
        self.ids = list(bundle.row)
        self._settings = settings
        self._builder = ListBuilder(
            bundle, Candidates(bundle, settings.exact_below), tail, lambda row: listing[row].category
        )
        self._most_wanted = MostWanted(scorer)

    def for_user(
        self, request: RecommendRequest, excluded: np.ndarray, query: Query, exploration: Exploration | None = None
    ) -> RankedList:
        """excluded: int64 rows that are not shown; query: of this user alone."""
        filters, ranking, rules = request.filters, self._settings, Rules.of(self._settings)
        shown = self.listing.visible(available_only=filters.available_only)
        mask = eligible(self.listing.categories, excluded, filters.category_in, filters.category_out, shown)
        return self._build(
            UserQuestion(self.scorer, query, self._most_wanted),
            mask,
            request.k or ranking.k,
            rules if request.diversity is None else replace(rules, diversity=request.diversity),
            exploration,
        )

    def same_category_mask(self, rows: np.ndarray) -> np.ndarray | None:
        """bool (items,): which items are of a category that one of the `rows` has; None where they have none."""
        names = {name for row in rows for name in self.listing[row].category}
        return self.listing.categories.mask(names) if names else None

    def similar(self, row: int, k: int | None) -> RankedList:
        """Nearest by item vector and by text, in equal parts."""
        mask = eligible(self.listing.categories, [row], among=self.listing.visible(available_only=True))
        return self._build(ItemQuestion(self.bundle, row), mask, k or self._settings.k, Rules())

    def is_current(self, listed: RankedList) -> bool:
        """Whether trend and catalogue are those that the list was made of."""
        return listed.trend is self.trend.now and listed.catalogue == self.listing.version

    def _build(
        self,
        question: Question,
        mask: np.ndarray,
        k: int,
        rules: Rules,
        exploration: Exploration | None = None,
    ) -> RankedList:
        """The first k under the mask, re-ranked."""
        trend, catalogue, counted = self.trend.now, self.listing.version, _CountingQuestion(question, len(mask))
        rows, scores = self._builder.build(counted, mask, k, rules, exploration.pick if exploration else None)
        items = [
            self._payload(*place) for place in enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1)
        ]
        placements = exploration.places if exploration else [CERTAIN] * len(items)
        shown = [_impression_payload(item, placement) for item, placement in zip(items, placements, strict=True)]
        return RankedList(rows, as_fragment(items), as_fragment(shown), trend, catalogue, counted.scored)

    def _payload(self, rank: int, scored: tuple[int, float]) -> dict[str, object]:
        """An item of the list: its row and its score."""
        row, score = scored
        listed = self.listing[row]
        return {
            "item_id": self.ids[row], "title": listed.title, "category": listed.category, "score": score, "rank": rank
        }  # fmt: skip


def _impression_payload(item: Mapping[str, object], placement: Placed) -> dict[str, object]:
    """What the impression says of an item of the list."""
    propensity, greedy = placement
    return {
        "item_id": item["item_id"], "rank": item["rank"], "score": item["score"], "propensity": propensity,
        "greedy": greedy,
    }  # fmt: skip
