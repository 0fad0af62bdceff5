"""The request path: history, interest, ranked list, explanations, impression."""

import math
import time
from collections.abc import Collection
from copy import copy
from datetime import UTC, datetime
from functools import cache, partial

import numpy as np
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.bundle.extended import ExtendedBundle, extend
from components.ranking.explain import Explainer
from components.ranking.rerank import Exploration, in_tail
from components.ranking.scorer import Query, Scorer
from components.settings import Settings
from components.store.impressions import ServedList
from serving.contract.errors import ApiError
from serving.contract.requests import RecommendRequest, SimilarRequest
from serving.recommend.catalogue import ListedItem, LiveCatalogue
from serving.recommend.histories import Histories
from serving.recommend.new_items import NewItems
from serving.recommend.ranking import Answer, Interest, InterestAndList, RankedList, Ranker, interest_payload
from serving.recommend.trend import LiveTrend
from serving.recommend.user_cache import LruCache
from serving.recommend.user_history import UserHistory
from serving.storage.batched_reads import BatchedReads, RequestReads
from serving.storage.impressions import Impressions
from serving.telemetry import logs
from serving.telemetry.metrics import Metrics

CACHEABLE_FIELDS = {"user_id", "k", "explain"}
"""A request with only these fields gets its list from the cache."""
TERMS = 20
"""Terms computed per kind; the response shows the first ones."""
MAX_INTERESTS = 5_000
"""Size of the cache of interests."""
INTEREST_SECONDS = 300.0
"""Seconds for which a cached interest is used without a new event: only time decay would change it."""


class Recommender:
    """Answers requests with one bundle. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        reads: BatchedReads,
        metrics: Metrics,
        impressions: Impressions,
        histories: Histories,
    ) -> None:
        self.model_version = str(bundle.manifest.get("model_version", "unversioned"))
        self._settings = settings
        self._reads = reads
        self._metrics = metrics
        self._impressions = impressions
        self._histories = histories
        trend = LiveTrend(bundle.row, numbers(bundle.items["recent"]))
        scorer, listing = Scorer(bundle, trend), LiveCatalogue(bundle.items, bundle.row)
        tail = in_tail(numbers(bundle.items["popularity"]))
        self._ranker = Ranker(bundle, scorer, trend, listing, tail, settings.ranking)
        self._explainer = self._make_explainer(self._ranker)
        self._counted = cache(metrics.recommended.labels)
        metrics.users.labels(self.model_version).set_function(partial(len, histories))
        encoder = bundle.manifest["encoder"]
        self._view = histories.view(bundle.row, encoder, settings.events)
        self.new_items = NewItems(encoder, settings.serving.encoder_patience_seconds)
        self._interests: LruCache[str | None, Interest] = LruCache(MAX_INTERESTS)

    @property
    def trend(self) -> LiveTrend:
        return self._ranker.trend

    def items_changed(self, connection: Connection, item_ids: Collection[str] | None) -> "Recommender":
        """Refreshes items, with None all of them. Returns this recommender, or a copy extended by new items."""
        listing = self._ranker.listing
        categories = dict(listing.categories.now)
        new_ids = listing.refresh(connection) if item_ids is None else listing.refresh_items(connection, item_ids)
        if categories != listing.categories.now:
            self._interests.clear()  # their terms and category masks are outdated
        return self._extended(self.new_items.update(connection, new_ids))

    def vectors_changed(self, connection: Connection) -> "Recommender":
        """Reads the vectors of new items. Returns this recommender, or a copy extended by them."""
        return self._extended(self.new_items.update_all(connection))

    def _make_explainer(self, ranker: Ranker) -> Explainer:
        listing = ranker.listing
        return Explainer(ranker.scorer, self._settings.interests, listing.__getitem__, listing.categories.now)

    def _extended(self, has_new_items: bool) -> "Recommender":
        """A copy extended by the new items; requests that run meanwhile keep using this one."""
        self._metrics.items_waiting.labels(self.model_version).set(self.new_items.waiting)
        if not has_new_items:
            return self
        other, ranker, joined = copy(self), self._ranker, self.new_items.joined
        original = ranker.bundle.own if isinstance(ranker.bundle, ExtendedBundle) else ranker.bundle
        bundle = extend(original, joined)
        size, added = bundle.items.num_rows, joined[len(ranker.ids) - original.items.num_rows :]
        trend = ranker.trend.extended(bundle.row, size)
        listing = ranker.listing.extended(
            bundle.row, [ListedItem(item.title, item.category, item.available) for item in added]
        )
        scorer, tail = ranker.scorer.extended(bundle, trend), np.append(ranker.tail, np.ones(len(added), dtype=bool))
        other._ranker = Ranker(bundle, scorer, trend, listing, tail, self._settings.ranking)
        other._explainer = self._make_explainer(other._ranker)
        other._view = self._histories.view(bundle.row, bundle.manifest["encoder"], self._settings.events)
        other._interests = LruCache(MAX_INTERESTS)
        return other

    async def recommend(self, request: RecommendRequest, variant: str, *, recorded: bool = True) -> Answer:
        """The response of /recommend. Every event committed before the call counts.

        Args:
            variant: Variant named in the response and in the impression.
            recorded: Whether to record an impression; False when the list is not shown to a user.
        """
        now = time.time()
        reads = RequestReads(self._reads, self._metrics)
        stored = await self._histories.of(reads, request.user_id)
        if _is_cheap(request):
            return self._answer(reads, request, stored, now, variant, recorded=recorded)
        return await run_in_threadpool(self._answer, reads, request, stored, now, variant, recorded=recorded)

    async def rank(self, request: RecommendRequest) -> list[str]:
        """Ids of the items that `recommend` would return without exploration; records no impression."""
        now = time.time()
        stored = await self._histories.of(RequestReads(self._reads, self._metrics), request.user_id)
        return self._rank(request, stored, now).listed.item_ids

    def _answer(
        self,
        reads: RequestReads,
        request: RecommendRequest,
        stored: UserHistory,
        now: float,
        variant: str,
        *,
        recorded: bool,
    ) -> Answer:
        request_id = (recorded and logs.request_id.get()) or logs.new_request_id()
        ranked = self._rank(request, stored, now, request_id if recorded else None)
        interest = ranked.interest
        items: object = ranked.listed.payload
        if request.explain:
            with self._metrics.stage("reasons"):
                reasons = self._explainer.why(ranked.listed.rows, interest.state, interest.query)
            items = [item | {"why": why} for item, why in zip(ranked.listed.items, reasons, strict=True)]
        if recorded and stored.allowed:
            self._record_impression(request_id, request.user_id, variant, ranked.listed, now)
        user_state = _user_state(stored, request)
        long_share = float(interest.query.long_share[0])
        self._observe(user_state, long_share)
        body = {
            "request_id": request_id,
            "model_version": self.model_version,
            "variant": variant,
            "degraded": self._is_degraded(reads, stored),
            "user_state": user_state,
            "interest": interest.payload,
            "items": items,
        }
        return Answer(body, request_id, ranked.listed)

    def clear_interests(self) -> None:
        """Drops the cached interests, for instance when a user is removed."""
        self._interests.clear()

    def similar(self, request: SimilarRequest) -> dict[str, object]:
        """The response of /similar: nearest by item and text vector in equal parts. Raises ApiError (404)."""
        row = self._ranker.scorer.row.get(request.item_id)
        if row is None:
            message = (
                f"no item {request.item_id!r} in model version {self.model_version}, nor among the new items since"
            )
            raise ApiError(404, "unknown_item", message, "item_id")
        return {
            "model_version": self.model_version,
            "item_id": request.item_id,
            "degraded": not self._histories.listening,
            "items": self._ranker.similar(row, request.k).payload,
        }

    def _rank(
        self, request: RecommendRequest, stored: UserHistory, now: float, request_id: str | None = None
    ) -> InterestAndList:
        """The list for a request.

        Args:
            request_id: Seed of the exploration; None for a list without exploration, as no impression records it.
        """
        interest = self._interest(stored, request, now)
        share = self._settings.ranking.exploration
        if share and request_id and stored.allowed:
            listed = self._list(request, stored, interest.query, Exploration(share, request_id))
        elif request.model_fields_set <= CACHEABLE_FIELDS:
            listed = self._cached_list(request, stored, interest)
        else:
            listed = self._list(request, stored, interest.query)
        return InterestAndList(interest, listed)

    def _cached_list(self, request: RecommendRequest, stored: UserHistory, interest: Interest) -> RankedList:
        """The cached list, unless the trend or the catalogue has changed."""
        k = request.k or self._settings.ranking.k
        cached = interest.lists.get(k)
        if cached and self._ranker.is_current(cached):
            return cached
        listed = self._list(request, stored, interest.query)
        interest.lists.clear()
        interest.lists[k] = listed
        return listed

    def _list(
        self, request: RecommendRequest, stored: UserHistory, query: Query, exploration: Exploration | None = None
    ) -> RankedList:
        """Builds the list, without the items of the context and those excluded by the user's events."""
        hidden_ids = [*request.filters.exclude_items, *(event.item_id for event in request.context)]
        excluded = np.concatenate([self._view.excluded(stored), self._view.rows_of(hidden_ids)])
        with self._metrics.stage("list"):
            listed = self._ranker.for_user(request, excluded, query, exploration)
        self._metrics.candidates.observe(listed.scored)
        return listed

    def _interest(self, stored: UserHistory, request: RecommendRequest, now: float) -> Interest:
        """The user's interest, cached for INTEREST_SECONDS: it changes with events, and only little with time."""
        cacheable = not (request.context or stored.has_spooled) and request.strategy in (
            None,
            self._settings.ranking.strategy,
        )
        user = request.user_id if stored.known else None  # users without events share one interest
        cached = self._interests.get(user) if cacheable else None
        if cached and cached.stored is stored and 0 <= now - cached.state.now < INTEREST_SECONDS:
            return cached
        with self._metrics.stage("interest"):
            state = self._view.state(stored, request.context, now)
            among = None if stored.known else self._ranker.same_category_mask(state.items[state.signals > 0])
            strategy = request.strategy or self._settings.ranking.strategy
            query = self._ranker.scorer.query([state], strategy, among, cached.query if cached else None)
            profile = self._explainer.profile(state, TERMS)
            interest = Interest(stored, state, query, interest_payload(float(query.long_share[0]), profile))
        if cacheable:
            self._interests.put(user, interest)
        return interest

    def _is_degraded(self, reads: RequestReads, stored: UserHistory) -> bool:
        """Whether the list may differ from the state in Postgres, or its impression is delayed."""
        return reads.degraded or stored.has_spooled or self._impressions.away or not self._histories.listening

    def _record_impression(self, request_id: str, user_id: str, variant: str, listed: RankedList, now: float) -> None:
        """Queues the impression to be written."""
        served_at = datetime.fromtimestamp(now, UTC)
        payload = listed.impression_payload
        self._impressions.add(ServedList(request_id, user_id, self.model_version, variant, served_at, payload))

    def _observe(self, user_state: str, long_share: float) -> None:
        self._counted(user_state).inc()
        if not math.isnan(long_share):
            self._metrics.long_share.observe(long_share)


def _is_cheap(request: RecommendRequest) -> bool:
    """Whether the request is computed on the event loop: a thread would cost more than the computation."""
    return not (request.explain or request.context or request.filters.category_in)


def _user_state(stored: UserHistory, request: RecommendRequest) -> str:
    if stored.known:
        return "known"
    return "anonymous" if request.context else "new"
