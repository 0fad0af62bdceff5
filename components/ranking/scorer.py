"""R = recommender(U, D): scores of all items for a batch of users.

The service and the evaluation both score here, with the same bundle, so that what was measured is what is served.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.arrays.concat_rows import take_rows
from components.arrays.sparse import Weights, add_columns, add_weights, scale, stack_rows, take_columns, weighted_rows
from components.bundle.bundle import Bundle
from components.histories.signals import FixedTrend, Trend, effective_length, recency_weights, standardise, with_least
from components.histories.states import StateBatch, UserState, collate

Strategy = Literal["content", "collaborative", "hybrid"]
PARTS: dict[Strategy, tuple[str, ...]] = {
    "content": ("content", "popularity"),
    "collaborative": ("collaborative", "popularity"),
    "hybrid": ("long", "short", "collaborative", "popularity"),
}
ALL_ROWS = slice(None)

PRIORS = ("popularity", "recent")
"""What is wanted over all time, and lately: a part of the score together."""
TIE_BREAK_WEIGHTS = dict.fromkeys(PRIORS, 0.005)
"""Their weights in the strategies that have no learned mixture: they only break ties."""
COLD_START_WEIGHTS = {"popularity": 0.5, "recent": 1.0}
"""Their weights for whom nothing is known. A learned mixture corrects an interest by them, maybe with a minus."""


@dataclass(frozen=True)
class Scores:
    """total and every part: float32 (users, items). total is the sum of the strategy's parts.

    long_share: float32 (users,), how much of the fused interest is long-term, from 0 to 1; NaN without a history,
    and for the strategies that do not use it.
    """

    total: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]
    long_share: NDArray[np.float32]


@dataclass(frozen=True)
class Query:
    """What some users ask of every item: the same whichever items are then scored.

    long, short: float32 (users, width), the parts of U; content: float32 (users, encoder dimension); collaborative:
    float32 (users, items); each None where the strategy does without. long_share: as in `Scores`.
    among: bool (items,), the only items for which it counts that they are much wanted; None for all.
    added: events that the collaborative sum was moved on by since all of it was summed.
    """

    states: Sequence[UserState]
    strategy: Strategy
    long: NDArray[np.float32] | None
    short: NDArray[np.float32] | None
    content: NDArray[np.float32] | None
    collaborative: Weights | None
    long_share: NDArray[np.float32]
    among: NDArray[np.bool_] | None = None
    added: int = 0


class Scorer:
    """Scores every item of a bundle for users given by their history.

    trend: what is wanted lately, as of the moment of each state; when absent, what was at the bundle's cut.
    """

    def __init__(self, bundle: Bundle, trend: Trend | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised
        self.bundle = bundle
        self.row = bundle.row
        self._tower = onnxruntime.InferenceSession(bundle.tower, options, providers=["CPUExecutionProvider"])
        self._inputs = {entry.name for entry in self._tower.get_inputs()}
        self.trend = trend or FixedTrend(numbers(bundle.items["recent"]))
        self._popularity = standardise(np.log1p(numbers(bundle.items["popularity"])[None]))
        self._priors: dict[tuple[float, ...], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def extended(self, bundle: Bundle, trend: Trend) -> "Scorer":
        """This one for its bundle with more rows, which are as wanted as the least wanted of the others."""
        other = copy(self)
        other.bundle, other.row, other.trend = bundle, bundle.row, trend
        other._popularity, other._priors = with_least(self._popularity, bundle.items.num_rows), {}
        return other

    def query(
        self,
        states: Sequence[UserState],
        strategy: Strategy = "hybrid",
        among: NDArray[np.bool_] | None = None,
        before: Query | None = None,
    ) -> Query:
        """The users' side of the scores. Raises ValueError for an unknown strategy.

        before: what was asked for this user alone at an earlier moment; of a history that has only grown since, just
        what is new is summed, which is the same to the rounding.
        """
        if strategy not in PARTS:
            raise ValueError(f"strategy {strategy!r} is none of {', '.join(PARTS)}")
        batch, mixture = self._collate(states), self.bundle.manifest["mixture"]
        long = short = content = collaborative = None
        added = 0
        long_shares, weight = np.full(len(states), np.nan, np.float32), np.float32(1)
        if strategy == "hybrid":
            long, short = self.user_parts(batch)
            long_shares, weight = long_share(long, short), np.float32(mixture["collaborative"])
        if strategy == "content":
            content = self._content_profile(batch)
        if strategy in ("collaborative", "hybrid"):
            updated = before and self._update_collaborative(before, states, strategy, weight)
            collaborative, added = updated or (self._collaborative(batch, weight), 0)
        return Query(states, strategy, long, short, content, collaborative, long_shares, among, added)

    def score(
        self, states: Sequence[UserState], strategy: Strategy = "hybrid", rows: NDArray[np.int64] | None = None
    ) -> Scores:
        """Scores of all items, or of `rows`, for each state. Raises ValueError for an unknown strategy."""
        return self.answer(self.query(states, strategy), rows)

    def answer(self, query: Query, rows: NDArray[np.int64] | None = None) -> Scores:
        """Scores of all items, or of `rows`, int64 (r,) without repetition: the same ones, to the rounding."""
        selected, width = (ALL_ROWS, self.bundle.items.num_rows) if rows is None else (rows, len(rows))
        parts: dict[str, NDArray[np.float32]] = {}
        if query.long is not None and query.short is not None:
            vectors = take_rows(self.bundle.vectors, selected)
            parts["long"] = query.long @ vectors.T
            parts["short"] = query.short @ vectors.T
        if query.content is not None:
            parts["content"] = query.content @ take_rows(self.bundle.texts, selected).T
        if query.collaborative is not None:
            parts["collaborative"] = take_columns(query.collaborative, rows)
        parts["popularity"] = np.broadcast_to(self.prior(query, selected), (len(query.states), width))
        total = sum((parts[name] for name in PARTS[query.strategy]), start=np.float32(0))
        return Scores(np.asarray(total), parts, query.long_share)

    def totals(
        self, states: Sequence[UserState], strategy: Strategy = "hybrid"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`total` and `long_share` of `score`, to the rounding: without the parts many users are scored in less time
        and memory."""
        query = self.query(states, strategy)
        return self.total(query), query.long_share

    def total(self, query: Query, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """`total` of `answer`, to the rounding, in less time."""
        if query.long is None or query.short is None:
            return self.answer(query, rows).total
        selected = ALL_ROWS if rows is None else rows
        total = (query.long + query.short) @ take_rows(self.bundle.vectors, selected).T
        total += self.prior(query, selected)
        if query.collaborative is not None and self.bundle.manifest["mixture"]["collaborative"]:
            add_columns(total, query.collaborative, rows)
        return total

    def priors(self, states: Sequence[UserState]) -> dict[str, NDArray[np.float32]]:
        """Each of PRIORS unweighted, float32 (users, items), or (1, items) where it is the same for all."""
        moments = np.array([state.now for state in states])
        return {"popularity": self._popularity, "recent": self.trend.scores(moments)}

    def prior_weights(self, strategy: Strategy) -> Mapping[str, float]:
        """What each of PRIORS weighs in a strategy."""
        return self.bundle.manifest["mixture"] if strategy == "hybrid" else TIE_BREAK_WEIGHTS

    def prior(self, query: Query, selected: slice | NDArray[np.int64] = ALL_ROWS) -> NDArray[np.float32]:
        """Of all items or of some, the sum of the PRIORS that have a weight, (users, rows), or (1, rows) where it is
        the same for all; zeros without any."""
        priors, blank = self.priors(query.states), [state.blank for state in query.states]
        scores = self._weighted(priors, self.prior_weights(query.strategy))[:, selected]
        if any(blank):
            scores = np.where(np.array(blank)[:, None], self._weighted(priors, COLD_START_WEIGHTS)[:, selected], scores)
        return scores if query.among is None else np.where(query.among[selected], scores, np.minimum(scores, 0))

    def _weighted(self, priors: Mapping[str, NDArray[np.float32]], weights: Mapping[str, float]) -> NDArray[np.float32]:
        """The sum of the priors that have a weight, (T, items); the same one for as long as the trend is the same."""
        trend, key = priors["recent"], tuple(weights[name] for name in PRIORS)
        cached = self._priors.get(key)
        if cached is None or cached[0] is not trend:
            parts = [np.float32(weights[name]) * part for name, part in priors.items() if weights[name]]
            cached = trend, np.asarray(sum(parts, start=np.zeros_like(self._popularity)))
            self._priors[key] = cached
        return cached[1]

    def _collate(self, states: Sequence[UserState]) -> StateBatch:
        manifest = self.bundle.manifest
        return collate(list(states), history=manifest["history"], dimension=manifest["dimension"])

    def user_parts(self, batch: StateBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The long-term and the short-term part of U, each float32 (users, width); U is their sum."""
        feed = {
            "vectors": self.bundle.vectors[batch.items],
            "ages": batch.ages,
            "signals": batch.signals,
            "documents": batch.documents,
            "present": batch.present,
        }
        long, short = self._tower.run(["long", "short"], {k: v for k, v in feed.items() if k in self._inputs})
        return long, short

    def _decay(self, batch: StateBatch) -> NDArray[np.float32]:
        """(users, H): each history item's signal, halved every half life."""
        return batch.signals * np.exp2(-batch.ages / np.float32(self.bundle.manifest["half_life_days"]))

    def _collaborative(self, batch: StateBatch, weight: np.float32) -> Weights:
        recency, neighbours = self.bundle.manifest["recency"], self.bundle.neighbours
        latest = slice(-effective_length(recency, batch.items.shape[1]), None)
        items, weights = batch.items[:, latest], recency_weights(batch.signals[:, latest], recency) * weight
        if len(weights) == 1:
            return weighted_rows(neighbours, items[0], weights, np.float32)
        nonzero = weights != 0
        users = zip(items, weights, nonzero, strict=True)
        sums = [
            weighted_rows(neighbours, user_items[mask], user_weights[None, mask], np.float32)
            for user_items, user_weights, mask in users
        ]
        return stack_rows(sums) if sums else np.zeros((0, self.bundle.items.num_rows), np.float32)

    def _update_collaborative(
        self, before: Query, states: Sequence[UserState], strategy: Strategy, weight: np.float32
    ) -> tuple[Weights, int] | None:
        """The collaborative sum with what was added to the history since, and `Query.added`; None where all of it must
        be summed: it is another history, or one cut off, or so much was added that nothing else weighs anything."""
        (state,), (earlier,), total = states, before.states, before.collaborative
        manifest, new = self.bundle.manifest, slice(len(earlier.items), None)
        items, recency = state.items[new], manifest["recency"]
        added = before.added + len(items)
        if (
            total is None
            or before.strategy != strategy
            or not state.continues(earlier)
            or len(state.items) > manifest["history"]
            or added >= effective_length(recency, manifest["history"])
        ):
            return None
        if not len(items):
            return total, added
        weights = recency_weights(state.signals[None, new], recency) * weight
        faded = scale(total, np.float32(recency ** len(items)))
        return add_weights(faded, weighted_rows(self.bundle.neighbours, items, weights, np.float32)), added

    def content_profile(self, states: Sequence[UserState]) -> NDArray[np.float32]:
        """Float32 (users, encoder dimension): what they read, of unit length; zero where that is nothing."""
        return self._content_profile(self._collate(states))

    def _content_profile(self, batch: StateBatch) -> NDArray[np.float32]:
        profile = batch.documents.sum(axis=1)
        for user, (weights, items) in enumerate(zip(self._decay(batch), batch.items, strict=True)):
            profile[user] += weights @ take_rows(self.bundle.texts, items)
        norms = np.linalg.norm(profile, axis=1, keepdims=True)
        return (profile / np.maximum(norms, 1e-9)).astype(np.float32)


def long_share(long: NDArray[np.float32], short: NDArray[np.float32]) -> NDArray[np.float32]:
    """|long| / (|long| + |short|) of each user; NaN where both are zero. Shapes (users, width) to (users,)."""
    long_norm = np.sqrt(np.vecdot(long, long))
    norm_sum = long_norm + np.sqrt(np.vecdot(short, short))
    return np.divide(
        long_norm, norm_sum, out=np.full(len(long), np.nan, np.float32), where=norm_sum > 0, casting="same_kind"
    )
