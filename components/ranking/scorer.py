"""The scorer, R = recommender(U, D): scores of all items for a batch of users.

Service, evaluation and batch job use it with the same bundle, so that offline metrics apply to what is served.
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
from components.histories.signals import (
    FixedTrend,
    Trend,
    effective_length,
    pad_with_minimum,
    recency_weights,
    standardise,
)
from components.histories.states import StateBatch, UserState, collate

Strategy = Literal["content", "collaborative", "hybrid"]
PARTS: dict[Strategy, tuple[str, ...]] = {
    "content": ("content", "popularity"),
    "collaborative": ("collaborative", "popularity"),
    "hybrid": ("long", "short", "collaborative", "popularity"),
}
ALL_ROWS = slice(None)

PRIORS = ("popularity", "recent")
"""All-time and recent popularity, which form the popularity part of the score."""
TIE_BREAK_WEIGHTS = dict.fromkeys(PRIORS, 0.005)
"""Weights of the priors in strategies without learned blending weights; they only break ties."""
COLD_START_WEIGHTS = {"popularity": 0.5, "recent": 1.0}
"""Weights of the priors for cold-start users. Learned weights only correct an interest and may be negative."""


@dataclass(frozen=True)
class Scores:
    """Scores and their parts.

    Attributes:
        total: Sum of the strategy's parts (users, items).
        parts: Each part by name (users, items).
        long_share: Long-term share of the fused interest (users,), from 0 to 1; NaN without a history and for
            strategies without a fused interest.
    """

    total: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]
    long_share: NDArray[np.float32]


@dataclass(frozen=True)
class Query:
    """The user side of the scores, independent of the items to be scored.

    Fields that the strategy does not use are None.

    Attributes:
        long: Long-term part of U (users, width).
        short: Short-term part of U (users, width).
        content: Content profile, see `Scorer.content_profile` (users, encoder dims).
        collaborative: Collaborative scores (users, items), float32.
        long_share: As in `Scores`.
        among: Items whose positive popularity counts (items,); None for all.
        added: Events by which the collaborative sum was updated since it was last computed in full.
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
    """Scores the items of a bundle for users given by their history."""

    def __init__(self, bundle: Bundle, trend: Trend | None = None) -> None:
        """
        Args:
            trend: Recent popularity as of the time of each state; by default that of the bundle's cut.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # already optimised
        self.bundle = bundle
        self.row = bundle.row
        self._tower = onnxruntime.InferenceSession(bundle.tower, options, providers=["CPUExecutionProvider"])
        self._inputs = {entry.name for entry in self._tower.get_inputs()}
        self.trend = trend or FixedTrend(numbers(bundle.items["recent"]))
        self._popularity = standardise(np.log1p(numbers(bundle.items["popularity"])[None]))
        self._priors: dict[tuple[float, ...], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def extended(self, bundle: Bundle, trend: Trend) -> "Scorer":
        """A copy for the bundle with added rows, whose popularity is the minimum of the others."""
        other = copy(self)
        other.bundle, other.row, other.trend = bundle, bundle.row, trend
        other._popularity, other._priors = pad_with_minimum(self._popularity, bundle.items.num_rows), {}
        return other

    def query(
        self,
        states: Sequence[UserState],
        strategy: Strategy = "hybrid",
        among: NDArray[np.bool_] | None = None,
        before: Query | None = None,
    ) -> Query:
        """Computes the user side of the scores.

        Args:
            states: One per user.
            among: Items whose positive popularity counts (items,); None for all.
            before: An earlier query of this user alone. If the history has only grown since, the collaborative sum is
                updated incrementally, equal up to rounding.

        Raises:
            ValueError: Unknown strategy.
        """
        if strategy not in PARTS:
            raise ValueError(f"strategy {strategy!r} is none of {', '.join(PARTS)}")
        batch, blending = self._collate(states), self.bundle.manifest["mixture"]
        long = short = content = collaborative = None
        added = 0
        long_shares, weight = np.full(len(states), np.nan, np.float32), np.float32(1)
        if strategy == "hybrid":
            long, short = self.user_parts(batch)
            long_shares, weight = long_share(long, short), np.float32(blending["collaborative"])
        if strategy == "content":
            content = self._content_profile(batch)
        if strategy in ("collaborative", "hybrid"):
            updated = before and self._update_collaborative(before, states, strategy, weight)
            collaborative, added = updated or (self._collaborative(batch, weight), 0)
        return Query(states, strategy, long, short, content, collaborative, long_shares, among, added)

    def score(
        self, states: Sequence[UserState], strategy: Strategy = "hybrid", rows: NDArray[np.int64] | None = None
    ) -> Scores:
        """Scores of all items, or of distinct `rows`, for each state. Raises ValueError for an unknown strategy."""
        return self.answer(self.query(states, strategy), rows)

    def answer(self, query: Query, rows: NDArray[np.int64] | None = None) -> Scores:
        """Scores of all items, or of distinct `rows` (n,), equal up to rounding."""
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
        """`total` and `long_share` of `score`, up to rounding; without the parts, faster and in less memory."""
        query = self.query(states, strategy)
        return self.total(query), query.long_share

    def total(self, query: Query, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """`total` of `answer`, up to rounding, but faster."""
        if query.long is None or query.short is None:
            return self.answer(query, rows).total
        selected = ALL_ROWS if rows is None else rows
        total = (query.long + query.short) @ take_rows(self.bundle.vectors, selected).T
        total += self.prior(query, selected)
        if query.collaborative is not None and self.bundle.manifest["mixture"]["collaborative"]:
            add_columns(total, query.collaborative, rows)
        return total

    def priors(self, states: Sequence[UserState]) -> dict[str, NDArray[np.float32]]:
        """Each of PRIORS unweighted, (users, items), or (1, items) where it is equal for all users."""
        moments = np.array([state.now for state in states])
        return {"popularity": self._popularity, "recent": self.trend.scores(moments)}

    def prior_weights(self, strategy: Strategy) -> Mapping[str, float]:
        """Weights of PRIORS in a strategy."""
        return self.bundle.manifest["mixture"] if strategy == "hybrid" else TIE_BREAK_WEIGHTS

    def prior(self, query: Query, selected: slice | NDArray[np.int64] = ALL_ROWS) -> NDArray[np.float32]:
        """The weighted sum of PRIORS for all or some items: (users, rows), or (1, rows) where equal for all users."""
        priors, cold = self.priors(query.states), [state.is_cold for state in query.states]
        scores = self._weighted(priors, self.prior_weights(query.strategy))[:, selected]
        if any(cold):
            scores = np.where(np.array(cold)[:, None], self._weighted(priors, COLD_START_WEIGHTS)[:, selected], scores)
        return scores if query.among is None else np.where(query.among[selected], scores, np.minimum(scores, 0))

    def _weighted(self, priors: Mapping[str, NDArray[np.float32]], weights: Mapping[str, float]) -> NDArray[np.float32]:
        """Weighted sum of the priors (moments, items), cached until the trend changes."""
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
        """The long-term and the short-term part of U, each (users, width); U is their sum."""
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
        """Signals decayed by half-life (users, history)."""
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
        """Updates the collaborative sum of an earlier query with the new events.

        Returns:
            The sum and `Query.added`, or None if it must be computed in full: the history is a different or truncated
            one, or so many events were added that the earlier ones have no weight left.
        """
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
        """Unit content profiles (users, encoder dims): documents plus decayed texts of the history; zero if empty."""
        return self._content_profile(self._collate(states))

    def _content_profile(self, batch: StateBatch) -> NDArray[np.float32]:
        profile = batch.documents.sum(axis=1)
        for user, (weights, items) in enumerate(zip(self._decay(batch), batch.items, strict=True)):
            profile[user] += weights @ take_rows(self.bundle.texts, items)
        norms = np.linalg.norm(profile, axis=1, keepdims=True)
        return (profile / np.maximum(norms, 1e-9)).astype(np.float32)


def long_share(long: NDArray[np.float32], short: NDArray[np.float32]) -> NDArray[np.float32]:
    """|long| / (|long| + |short|) of each user, (users, width) to (users,); NaN where both are zero."""
    long_norm = np.sqrt(np.vecdot(long, long))
    norm_sum = long_norm + np.sqrt(np.vecdot(short, short))
    return np.divide(
        long_norm, norm_sum, out=np.full(len(long), np.nan, np.float32), where=norm_sum > 0, casting="same_kind"
    )
