"""Ranked lists over the items of one bundle: filtering, scoring, re-ranking, payloads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import orjson
from numpy.typing import NDArray

from components.bundle.bundle import Bundle
from components.histories.states import UserState
from components.ranking.candidates import Candidates, RetrievalQuery
from components.ranking.explain import Profile
from components.ranking.filters import eligible
from components.ranking.lists import ListBuilder, Rules
from components.ranking.rerank import CERTAIN, Exploration, Placement
from components.ranking.retrieval import ItemRetrieval, PopularItems, UserRetrieval
from components.ranking.scorer import Query, Scorer
from components.settings import RankingSettings
from serving.contract.requests import RecommendRequest
from serving.contract.responses import as_fragment
from serving.recommend.catalogue import LiveCatalogue
from serving.recommend.trend import LiveTrend
from serving.recommend.user_history import UserHistory


@dataclass(frozen=True)
class RankedList:
    """A ranked list and the state that it was computed from. Many are cached, so the payloads are JSON.

    Attributes:
        rows: (k,) int64, rows of the bundle.
        payload: The items as in the response.
        impression_payload: The items as recorded in the impression.
        trend: The trend scores used.
        catalogue: Version of the catalogue used.
        scored: Number of items scored.
    """

    rows: NDArray[np.int64]
    payload: orjson.Fragment
    impression_payload: orjson.Fragment
    trend: NDArray[np.float32]
    catalogue: int
    scored: int

    @property
    def items(self) -> list[dict[str, object]]:
        """`payload`, parsed."""
        items: list[dict[str, object]] = orjson.loads(orjson.dumps(self.payload))
        return items

    @property
    def item_ids(self) -> list[str]:
        return [str(item["item_id"]) for item in self.items]


@dataclass(frozen=True)
class Answer:
    """The response of /recommend, with its request id and list."""

    body: dict[str, object]
    request_id: str
    listed: RankedList


@dataclass(frozen=True)
class Interest:
    """A user's interest, as the model's query and as terms.

    Attributes:
        stored: The history that it was computed from.
        payload: The interest as in the response.
        lists: Cache of the latest unfiltered list, by length.
    """

    stored: UserHistory
    state: UserState
    query: Query
    payload: dict[str, object]
    lists: dict[int, RankedList] = field(default_factory=dict)


@dataclass(frozen=True)
class InterestAndList:
    """A ranked list and the interest that it was made for."""

    interest: Interest
    listed: RankedList


def interest_payload(long_share: float, profile: Profile) -> dict[str, object]:
    """The interest as in the response.

    Args:
        long_share: Share of the long-term interest, NaN for a user without events.
        profile: Terms of the interest.
    """
    has_events = not math.isnan(long_share)
    return {
        "long_weight": round(long_share, 4) if has_events else 0.0,
        "short_weight": round(1.0 - long_share, 4) if has_events else 0.0,
        "long": profile.long_terms(),
        "short": profile.short_terms(),
    }


class _CountingQuery:
    """Wraps a retrieval query to count the items that are scored."""

    def __init__(self, query: RetrievalQuery, items: int) -> None:
        self._query, self._items = query, items
        self.scored = 0
        self.near = query.near

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        self.scored += self._items if rows is None else len(rows)
        return self._query.scores(rows)


class Ranker:
    """Builds ranked lists. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        scorer: Scorer,
        trend: LiveTrend,
        listing: LiveCatalogue,
        tail: NDArray[np.bool_],
        settings: RankingSettings,
    ) -> None:
        """
        Args:
            trend: The trend that the scorer uses.
            tail: (items,) bool, items outside the most popular fifth.
        """
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
        self._most_wanted = PopularItems(scorer)

    def for_user(
        self,
        request: RecommendRequest,
        excluded: NDArray[np.int64],
        query: Query,
        exploration: Exploration | None = None,
    ) -> RankedList:
        """The list for a user.

        Args:
            excluded: (n,) int64, rows that are not shown.
            query: The query of this user alone.
            exploration: Randomises the list, if given.
        """
        filters, ranking, rules = request.filters, self._settings, Rules.of(self._settings)
        shown = self.listing.visible(available_only=filters.available_only)
        mask = eligible(self.listing.categories, excluded, filters.category_in, filters.category_out, shown)
        return self._build(
            UserRetrieval(self.scorer, query, self._most_wanted),
            mask,
            request.k or ranking.k,
            rules if request.diversity is None else replace(rules, diversity=request.diversity),
            exploration,
        )

    def same_category_mask(self, rows: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Mask (items,) of the items that share a category with any of `rows`; None if `rows` have no category."""
        names = {name for row in rows for name in self.listing[row].category}
        return self.listing.categories.mask(names) if names else None

    def similar(self, row: int, k: int | None) -> RankedList:
        """The items nearest to a row, by item vector and text vector in equal parts."""
        mask = eligible(self.listing.categories, [row], among=self.listing.visible(available_only=True))
        return self._build(ItemRetrieval(self.bundle, row), mask, k or self._settings.k, Rules())

    def is_current(self, listed: RankedList) -> bool:
        """Whether trend and catalogue are unchanged since the list was built."""
        return listed.trend is self.trend.now and listed.catalogue == self.listing.version

    def _build(
        self,
        query: RetrievalQuery,
        mask: NDArray[np.bool_],
        k: int,
        rules: Rules,
        exploration: Exploration | None = None,
    ) -> RankedList:
        """The top k items under the mask, re-ranked."""
        trend, catalogue, counted = self.trend.now, self.listing.version, _CountingQuery(query, len(mask))
        rows, scores = self._builder.build(counted, mask, k, rules, exploration.pick if exploration else None)
        items = [
            self._payload(*place) for place in enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1)
        ]
        placements = exploration.places if exploration else [CERTAIN] * len(items)
        shown = [_impression_payload(item, placement) for item, placement in zip(items, placements, strict=True)]
        return RankedList(rows, as_fragment(items), as_fragment(shown), trend, catalogue, counted.scored)

    def _payload(self, rank: int, scored: tuple[int, float]) -> dict[str, object]:
        """An item as in the response.

        Args:
            scored: Row and score.
        """
        row, score = scored
        listed = self.listing[row]
        return {
            "item_id": self.ids[row], "title": listed.title, "category": listed.category, "score": score, "rank": rank
        }  # fmt: skip


def _impression_payload(item: Mapping[str, object], placement: Placement) -> dict[str, object]:
    """An item as recorded in the impression."""
    propensity, greedy = placement
    return {
        "item_id": item["item_id"], "rank": item["rank"], "score": item["score"], "propensity": propensity,
        "greedy": greedy,
    }  # fmt: skip
