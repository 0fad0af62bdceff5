"""From a request to a list: history, scores, filters, re-ranking, reasons, impression."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial

import numpy as np
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.bundle.extended import ExtendedBundle, extend
from components.ranking.explain import Explainer
from components.ranking.filters import Exclusion
from components.ranking.rerank import Exploration, in_tail
from components.ranking.scorer import Query, Scorer
from components.settings import Settings
from components.store.impressions import Answered
from components.store.people import refused
from components.store.privacy import Privacy
from components.store.rows import EventRow
from serving.contract.errors import ApiError
from serving.contract.requests import RecommendRequest, SimilarRequest
from serving.recommend.catalogue import ListedItem, Listing
from serving.recommend.new_items import NewItems
from serving.recommend.ranking import Answer, Interest, Listed, Lists, Ranked, in_words
from serving.recommend.recent_feedback import RecentFeedback
from serving.recommend.trend import LiveTrend
from serving.recommend.user_cache import Recent, UserCache
from serving.recommend.user_history import NOTHING, REFUSED, HistoryReader, UserHistory
from serving.storage.batched_reads import Reads, Session
from serving.storage.impressions import Impressions
from serving.storage.spool import Spool, SpoolError, waiting_events
from serving.telemetry import logs
from serving.telemetry.metrics import Metrics

PLAIN = {"user_id", "k", "explain"}
"""Fields of a request whose list is kept with the interest."""
TERMS = 20
"""Terms computed per kind; the answer shows the first ones."""
INTERESTS = 5_000
"""Interests that are kept."""
FRESH_SECONDS = 300.0
"""How long an interest counts without a new event: meanwhile only the time that passes moves it."""


class Recommender:
    """One bundle, ready to answer. Every method may be called from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        reads: Reads,
        metrics: Metrics,
        impressions: Impressions,
        spool: Spool,
        lately: RecentFeedback,
    ) -> None:
        self.model_version = str(bundle.manifest.get("model_version", "unversioned"))
        self._settings = settings
        self._privacy = Privacy(settings)
        self._reads = reads
        self._metrics = metrics
        self._impressions = impressions
        self._spool = spool
        self._lately = lately
        trend = LiveTrend(bundle.row, numbers(bundle.items["recent"]))
        scorer, listing = Scorer(bundle, trend), Listing(bundle.items, bundle.row)
        tail = in_tail(numbers(bundle.items["popularity"]))
        self._lists = Lists(bundle, scorer, trend, listing, tail, settings.ranking)
        self._explainer = self._explains(self._lists)
        self.users: UserCache[UserHistory, EventRow] = UserCache()
        self._counted = cache(metrics.recommended.labels)
        metrics.users.labels(self.model_version).set_function(partial(len, self.users))
        encoder, size = bundle.manifest["encoder"], bundle.items.num_rows
        exclusion = Exclusion.of(settings.ranking, settings.events)
        self._reader = HistoryReader(bundle.row, size, settings.events, encoder, settings.ranking.history, exclusion)
        self.newcomers = NewItems(encoder, settings.serving.encoder_patience_seconds)
        self._interests: Recent[str | None, Interest] = Recent(INTERESTS)

    @property
    def trend(self) -> LiveTrend:
        return self._lists.trend

    def items_changed(self, connection: Connection, item_ids: Collection[str] | None) -> "Recommender":
        """Reads items again, with None all: this one, or one that has more of them."""
        listing = self._lists.listing
        categories = dict(listing.categories.now)
        later = listing.refresh(connection) if item_ids is None else listing.reread(connection, item_ids)
        if categories != listing.categories.now:
            self._interests.clear()  # their words, and what they look among, are of other categories
        return self._grown(self.newcomers.look(connection, later))

    def vectors_changed(self, connection: Connection) -> "Recommender":
        """Reads the vectors of items that came after the bundle: this one, or one that has more of them."""
        return self._grown(self.newcomers.look_again(connection))

    def _explains(self, lists: Lists) -> Explainer:
        listing = lists.listing
        return Explainer(lists.scorer, self._settings.interests, listing.__getitem__, listing.categories.now)

    def _grown(self, grows: bool) -> "Recommender":
        """What is asked of this one meanwhile is answered by the rows that it has."""
        self._metrics.items_waiting.labels(self.model_version).set(self.newcomers.waiting)
        if not grows:
            return self
        other, lists, joined = copy(self), self._lists, self.newcomers.joined
        own = lists.bundle.own if isinstance(lists.bundle, ExtendedBundle) else lists.bundle
        bundle = extend(own, joined)
        size, added = bundle.items.num_rows, joined[len(lists.ids) - own.items.num_rows :]
        trend = lists.trend.extended(bundle.row, size)
        listing = lists.listing.extended(
            bundle.row, [ListedItem(item.title, item.category, item.available) for item in added]
        )
        scorer, tail = lists.scorer.extended(bundle, trend), np.append(lists.tail, np.ones(len(added), dtype=bool))
        other._lists = Lists(bundle, scorer, trend, listing, tail, self._settings.ranking)
        other._explainer = self._explains(other._lists)
        other._reader = replace(self._reader, rows=bundle.row, size=size)
        other._interests = Recent(INTERESTS)
        return other

    async def recommend(self, request: RecommendRequest, variant: str, *, recorded: bool = True) -> Answer:
        """The answer of /recommend. Every event committed before the call counts.

        recorded: whether somebody sees it, and an impression is kept.
        """
        now = time.time()
        session = Session(self._reads, self._metrics)
        stored = await self._stored(session, request.user_id)
        if _is_quick(request):
            return self._answer(session, request, stored, now, variant, recorded=recorded)
        return await run_in_threadpool(self._answer, session, request, stored, now, variant, recorded=recorded)

    async def rank(self, request: RecommendRequest) -> list[str]:
        """The ids of the items that `recommend` would show now without exploration, and no impression is kept."""
        now = time.time()
        stored = await self._stored(Session(self._reads, self._metrics), request.user_id)
        return self._rank(request, stored, now).listed.item_ids

    def _answer(
        self,
        session: Session,
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
            self._note(request_id, request.user_id, variant, ranked.listed, now)
        user_state = _user_state(stored, request)
        long_share = float(interest.query.long_share[0])
        self._count(user_state, long_share)
        body = {
            "request_id": request_id,
            "model_version": self.model_version,
            "variant": variant,
            "degraded": self._is_degraded(session, stored),
            "user_state": user_state,
            "interest": interest.payload,
            "items": items,
        }
        return Answer(body, request_id, ranked.listed)

    def happened(self, events: Mapping[str, Sequence[EventRow]]) -> None:
        """Events by user that Postgres has now, all of which are new to it."""
        self.users.happened(events)

    def read(self, connection: Connection, user_ids: Sequence[str]) -> None:
        """Brings users into memory who are not there, or not as they are now."""
        self._read(connection, [user for user in user_ids if self._known(user) is None])

    def gone(self, user_id: str | None) -> None:
        """Nothing of a user, or with None of any, may stay in memory."""
        self.users.gone(user_id)
        self._interests.clear()

    def similar(self, request: SimilarRequest) -> dict[str, object]:
        """The answer of /similar: nearest by item vector and by text, in equal parts. Raises ApiError (404)."""
        row = self._lists.scorer.row.get(request.item_id)
        if row is None:
            message = (
                f"no item {request.item_id!r} in model version {self.model_version}, nor among those that came since"
            )
            raise ApiError(404, "unknown_item", message, "item_id")
        return {
            "model_version": self.model_version,
            "item_id": request.item_id,
            "degraded": not self.users.following,
            "items": self._lists.like(row, request.k).payload,
        }

    def _rank(
        self, request: RecommendRequest, stored: UserHistory, now: float, request_id: str | None = None
    ) -> Ranked:
        """request_id: of an answer that may explore, as it does where an impression keeps what it showed."""
        interest = self._interest(stored, request, now)
        share = self._settings.ranking.exploration
        if share and request_id and stored.allowed:
            listed = self._list(request, stored, interest.query, Exploration(share, request_id))
        elif request.model_fields_set <= PLAIN:
            listed = self._known_list(request, stored, interest)
        else:
            listed = self._list(request, stored, interest.query)
        return Ranked(interest, listed)

    def _known_list(self, request: RecommendRequest, stored: UserHistory, interest: Interest) -> Listed:
        """The list of before, where neither the trend nor the catalogue is another one."""
        k = request.k or self._settings.ranking.k
        known = interest.lists.get(k)
        if known and self._lists.is_as_now(known):
            return known
        listed = self._list(request, stored, interest.query)
        interest.lists.clear()
        interest.lists[k] = listed
        return listed

    def _list(
        self, request: RecommendRequest, stored: UserHistory, query: Query, exploration: Exploration | None = None
    ) -> Listed:
        """What the user meets right now is not shown, nor what their events exclude."""
        named = [*request.filters.exclude_items, *(event.item_id for event in request.context), *stored.unknown]
        excluded = np.concatenate([stored.excluded, self._reader.known_rows(named)])
        with self._metrics.stage("list"):
            listed = self._lists.for_user(request, excluded, query, exploration)
        self._metrics.candidates.observe(listed.scored)
        return listed

    def _interest(self, stored: UserHistory, request: RecommendRequest, now: float) -> Interest:
        """Kept a moment for who asks again: it changes with the events, and but little with the time that passes."""
        usual = not (request.context or stored.waiting) and request.strategy in (None, self._settings.ranking.strategy)
        user = request.user_id if stored.known else None  # of whom nothing is known have one for all of them
        before = self._interests.get(user) if usual else None
        if before and before.stored is stored and 0 <= now - before.state.now < FRESH_SECONDS:
            return before
        with self._metrics.stage("interest"):
            state = self._reader.state(stored, request.context, now)
            among = None if stored.known else self._lists.of_their_categories(state.items[state.signals > 0])
            strategy = request.strategy or self._settings.ranking.strategy
            query = self._lists.scorer.query([state], strategy, among, before.query if before else None)
            profile = self._explainer.profile(state, TERMS)
            interest = Interest(stored, state, query, in_words(float(query.long_share[0]), profile))
        if usual:
            self._interests.put(user, interest)
        return interest

    async def _stored(self, session: Session, user_id: str) -> UserHistory:
        """What is known of a user; what was known last, when Postgres is away. What waits in the spool counts."""
        waiting = self._waiting(session, user_id)  # before Postgres: what is stored in between is then found there
        stored = self._known(user_id)
        if stored is None:
            last = self.users.last(user_id, self._reader.after) or NOTHING
            with self._metrics.stage("history"):
                stored = await session.ask("history", self._read, user_id, None)
            if stored is None:
                stored = self._reader.with_waiting(last, self._lately.of(user_id))
        return self._reader.with_waiting(stored, waiting)

    def _waiting(self, session: Session, user_id: str) -> list[EventRow]:
        try:
            return waiting_events(self._spool.of(user_id))
        except SpoolError as error:
            session.lacks("spool", error)
            return []

    def _known(self, user_id: str) -> UserHistory | None:
        known = self.users.get(user_id, self._reader.after)
        return known if known is not None and self._reader.holds(known) else None

    def _read(self, connection: Connection, user_ids: Sequence[str]) -> Mapping[str, UserHistory]:
        return self.users.read(user_ids, lambda: self._found(connection, user_ids))

    def _found(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        out = dict.fromkeys(refused(connection, self._privacy, user_ids), REFUSED)
        return out | self._reader.stored(connection, [user for user in user_ids if user not in out])

    def _is_degraded(self, session: Session, stored: UserHistory) -> bool:
        """Whether the list may know less than Postgres, or more, or whose impression will not be kept soon."""
        return session.degraded or stored.waiting or self._impressions.away or not self.users.following

    def _note(self, request_id: str, user_id: str, variant: str, listed: Listed, now: float) -> None:
        """Has the impression written."""
        served_at = datetime.fromtimestamp(now, UTC)
        payload = listed.impression_payload
        self._impressions.add(Answered(request_id, user_id, self.model_version, variant, served_at, payload))

    def _count(self, user_state: str, long_share: float) -> None:
        self._counted(user_state).inc()
        if not math.isnan(long_share):
            self._metrics.long_share.observe(long_share)


def _is_quick(request: RecommendRequest) -> bool:
    """Whether a thread of its own would take longer than the answer."""
    return not (request.explain or request.context or request.filters.category_in)


def _user_state(stored: UserHistory, request: RecommendRequest) -> str:
    if stored.known:
        return "known"
    return "anonymous" if request.context else "new"
