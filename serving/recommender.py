"""From a request to a list: history, scores, filters, re-ranking, reasons, impression."""

import math
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection

from components.bundle import Bundle
from components.explain import Explainer, Profile
from components.privacy import Privacy
from components.ranking.candidates import Candidates, Question
from components.ranking.filters import CategoryIndex, eligible
from components.ranking.questions import ItemQuestion, MostWanted, UserQuestion
from components.ranking.rerank import rerank
from components.ranking.scorer import Query, Scorer
from components.ranking.states import UserState
from components.ranking.tail import in_tail
from components.settings import Settings
from components.store.impressions import record_impression
from components.store.people import lock_users, refused
from serving.catalogue import ListedItem, read_items
from serving.database import Database, Session
from serving.errors import ApiError
from serving.live import NOTHING, REFUSED, Stored, make_state, read_stored
from serving.metrics import Metrics
from serving.requests import RecommendRequest, SimilarRequest
from serving.trend import LiveTrend

POOL = 200


@dataclass(frozen=True)
class Shown:
    """An item that made the list."""

    row: int
    score: float
    listed: ListedItem


@dataclass(frozen=True)
class Answer:
    """What /recommend answers, and what others want to know of it."""

    body: dict[str, object]
    request_id: str
    item_ids: list[str]


@dataclass(frozen=True)
class Ranked:
    """A list, and what it was made of."""

    stored: Stored
    state: UserState
    query: Query
    shown: list[Shown]


class Recommender:
    """One bundle, ready to answer. Every method may be called from several threads."""

    def __init__(self, bundle: Bundle, settings: Settings, database: Database, metrics: Metrics) -> None:
        self.model_version = str(bundle.manifest.get("model_version", "unversioned"))
        self._bundle = bundle
        self._settings = settings
        self._privacy = Privacy(settings)
        self._database = database
        self._metrics = metrics
        self._ids = list(bundle.row)
        self.trend = LiveTrend(bundle.row, bundle.items["recent"].to_numpy())
        self._scorer = Scorer(bundle, self.trend)
        self._candidates = Candidates(bundle, settings.ranking.exact_below)
        self._wanted = MostWanted(self._scorer)
        self._explainer = Explainer(self._scorer, settings.interests)
        self._tail = in_tail(bundle.items["popularity"].to_numpy())
        self._listed = [
            ListedItem(title, category, available)
            for title, category, available in zip(
                *(bundle.items[name].to_pylist() for name in ("title", "category", "available")), strict=True
            )
        ]
        self._categories = CategoryIndex(bundle.items["category"])

    def recommend(self, request: RecommendRequest, variant: str) -> Answer:
        """The answer of /recommend. Every event committed before the call counts."""
        now = time.time()
        session = Session(self._database, self._metrics)
        ranked = self._rank(session, request, now)
        profile = self._explainer.profile(ranked.state)
        items = self._items(ranked.shown)
        if request.explain:
            rows = np.array([item.row for item in ranked.shown], dtype=np.int64)
            reasons = self._explainer.why(rows, ranked.state, ranked.query, profile)
            items = [item | {"why": why} for item, why in zip(items, reasons, strict=True)]
        request_id = uuid.uuid4().hex
        if ranked.stored.allowed:
            self._note(session, request_id, request.user_id, variant, items, now)
        user_state = _user_state(ranked.stored, request)
        long_share = float(ranked.query.long_share[0])
        self._count(user_state, long_share)
        body = {
            "request_id": request_id,
            "model_version": self.model_version,
            "variant": variant,
            "degraded": session.degraded,
            "user_state": user_state,
            "interest": _interest(long_share, profile),
            "items": items,
        }
        return Answer(body, request_id, [self._ids[item.row] for item in ranked.shown])

    def rank(self, request: RecommendRequest) -> list[str]:
        """The ids of the items that `recommend` would show now, and nothing is noted."""
        ranked = self._rank(Session(self._database, self._metrics), request, time.time())
        return [self._ids[item.row] for item in ranked.shown]

    def similar(self, request: SimilarRequest) -> dict[str, object]:
        """The answer of /similar: nearest by item vector and by text, in equal parts. Raises ApiError (404)."""
        row = self._scorer.row.get(request.item_id)
        if row is None:
            message = (
                f"no item {request.item_id!r} in model version {self.model_version}; an item added later is in the next"
            )
            raise ApiError(404, "unknown_item", message, "item_id")
        session = Session(self._database, self._metrics)
        mask = eligible(self._categories, {row})
        shown = self._fill(session, ItemQuestion(self._bundle, row), mask, request.k or self._settings.ranking.k)
        return {
            "model_version": self.model_version,
            "item_id": request.item_id,
            "degraded": session.degraded,
            "items": self._items(shown),
        }

    def _rank(self, session: Session, request: RecommendRequest, now: float) -> Ranked:
        stored = session.ask("history", lambda connection: self._stored(connection, request.user_id), NOTHING)
        state = make_state(stored, request.context, self._scorer.row, now, self._settings.events)
        query = self._scorer.query([state], request.strategy or self._settings.ranking.strategy)
        return Ranked(stored, state, query, self._choose(session, request, stored, query))

    def _stored(self, connection: Connection, user_id: str) -> Stored:
        if refused(connection, self._privacy, [user_id]):
            return REFUSED
        return read_stored(connection, user_id, self._bundle.manifest["encoder"], self._settings.ranking.history)

    def _choose(self, session: Session, request: RecommendRequest, stored: Stored, query: Query) -> list[Shown]:
        """Filters and re-ranks. Nothing that the user met before, or meets right now, is shown."""
        met = stored.seen.union(request.filters.exclude_items, (event.item_id for event in request.context))
        excluded = {row for item_id in met if (row := self._scorer.row.get(item_id)) is not None}
        filters, ranking = request.filters, self._settings.ranking
        mask = eligible(self._categories, excluded, filters.category_in, filters.category_out)
        return self._fill(
            session,
            UserQuestion(self._scorer, query, self._wanted),
            mask,
            request.k or ranking.k,
            diversity=ranking.diversity if request.diversity is None else request.diversity,
            category_cap=ranking.category_cap,
            tail_share=ranking.tail_share,
            available_only=filters.available_only,
        )

    def _fill(
        self,
        session: Session,
        question: Question,
        mask: np.ndarray,
        k: int,
        *,
        diversity: float = 0.0,
        category_cap: int = 0,
        tail_share: float = 0.0,
        available_only: bool = True,
    ) -> list[Shown]:
        """The first k under the mask that the catalogue still has, re-ranked; looks as far down as it takes."""
        pool: list[Shown] = []
        chosen: list[int] = []
        size = POOL if diversity or category_cap or tail_share else 2 * k
        for batch, scores in self._candidates.batches(question, mask, size):
            listed = self._listed_now(session, batch)
            scored = dict(zip(batch.tolist(), scores.tolist(), strict=True))
            pool += [Shown(row, scored[row], item) for row, item in listed if item.available or not available_only]
            rows = [shown.row for shown in pool]
            names = [shown.listed.category for shown in pool]
            texts = self._bundle.texts[rows]
            relevance = np.array([shown.score for shown in pool])
            chosen = rerank(
                relevance, texts, names, k, diversity=diversity, category_cap=category_cap,
                tail=self._tail[rows], tail_share=tail_share,
            )  # fmt: skip
            if len(chosen) >= k:
                break
        return [pool[position] for position in chosen]

    def _listed_now(self, session: Session, rows: np.ndarray) -> list[tuple[int, ListedItem]]:
        """The rows that the catalogue has, as it shows them now; as the bundle knew them when Postgres is away."""
        known = {self._ids[row]: self._listed[row] for row in rows}
        now = session.ask("items", lambda connection: read_items(connection, known), known)
        return [(int(row), now[self._ids[row]]) for row in rows if self._ids[row] in now]

    def _items(self, shown: list[Shown]) -> list[dict[str, object]]:
        return [
            {
                "item_id": self._ids[item.row],
                "title": item.listed.title,
                "category": item.listed.category,
                "score": item.score,
                "rank": rank,
            }
            for rank, item in enumerate(shown, start=1)
        ]

    def _note(
        self,
        session: Session,
        request_id: str,
        user_id: str,
        variant: str,
        items: list[dict[str, object]],
        now: float,
    ) -> None:
        """Writes the impression. Every shown item had to be shown, so its propensity is 1."""
        shown = [{name: item[name] for name in ("item_id", "rank", "score")} | {"propensity": 1.0} for item in items]

        def write(connection: Connection) -> None:
            lock_users(connection, [user_id])
            if refused(connection, self._privacy, [user_id]):
                return
            record_impression(
                connection,
                request_id=request_id,
                user_id=user_id,
                model_version=self.model_version,
                variant=variant,
                served_at=datetime.fromtimestamp(now, UTC),
                items=shown,
            )

        session.ask("impression", write, None)

    def _count(self, user_state: str, long_share: float) -> None:
        self._metrics.recommended.labels(user_state).inc()
        if not math.isnan(long_share):
            self._metrics.long_share.observe(long_share)


def _user_state(stored: Stored, request: RecommendRequest) -> str:
    if not stored.events.empty:
        return "known"
    return "anonymous" if request.context else "new"


def _interest(long_share: float, profile: Profile) -> dict[str, object]:
    known = not math.isnan(long_share)
    return {
        "long_weight": round(long_share, 4) if known else 0.0,
        "short_weight": round(1.0 - long_share, 4) if known else 0.0,
        "long": profile.long_terms(),
        "short": profile.short_terms(),
    }
