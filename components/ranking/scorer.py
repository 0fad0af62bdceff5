"""R = recommender(U, D): scores of all items for a batch of users.

The service and the evaluation both score here, with the same bundle, so that what was measured is what is served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnxruntime
from scipy import sparse

from components.bundle import Bundle
from components.ranking.collaborative import recency_weights
from components.ranking.states import StateBatch, UserState, collate
from components.ranking.trends import FixedTrend, Trend, standardise

Strategy = Literal["content", "collaborative", "hybrid"]
PARTS: dict[Strategy, tuple[str, ...]] = {
    "content": ("content", "popularity"),
    "collaborative": ("collaborative", "popularity"),
    "hybrid": ("long", "short", "collaborative", "popularity"),
}


PRIORS = ("popularity", "recent")
"""What is wanted over all time, and lately: a part of the score together."""
EVEN = dict.fromkeys(PRIORS, 0.005)
"""Their weights in the strategies that have no learned mixture: they only break ties."""


@dataclass(frozen=True)
class Scores:
    """total and every part: float32 (users, items). total is the sum of the strategy's parts.

    long_share: float32 (users,), how much of the fused interest is long-term, from 0 to 1; NaN without a history,
    and for the strategies that do not use it.
    """

    total: np.ndarray
    parts: dict[str, np.ndarray]
    long_share: np.ndarray


class Scorer:
    """Scores every item of a bundle for users given by their history.

    trend: what is wanted lately, as of the moment of each state; when absent, what was at the bundle's cut.
    """

    def __init__(self, bundle: Bundle, trend: Trend | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.bundle = bundle
        self.row: dict[str, int] = {item: row for row, item in enumerate(bundle.items["item_id"].to_pylist())}
        self._tower = onnxruntime.InferenceSession(bundle.tower, options, providers=["CPUExecutionProvider"])
        self._inputs = {entry.name for entry in self._tower.get_inputs()}
        self.trend = trend or FixedTrend(bundle.items["recent"].to_numpy())
        self._popularity = standardise(np.log1p(bundle.items["popularity"].to_numpy()[None]))

    def score(self, states: Sequence[UserState], strategy: Strategy = "hybrid") -> Scores:
        """Scores of all items for each state. Raises ValueError for an unknown strategy."""
        if strategy not in PARTS:
            raise ValueError(f"strategy {strategy!r} is none of {', '.join(PARTS)}")
        batch, mixture = self._collate(states), self.bundle.manifest["mixture"]
        shape = (len(states), self.bundle.items.num_rows)
        parts: dict[str, np.ndarray] = {}
        long, short = self.user_parts(batch)
        if strategy == "hybrid":
            parts["long"] = long @ self.bundle.vectors.T
            parts["short"] = short @ self.bundle.vectors.T
        if strategy == "content":
            parts["content"] = self._content(batch)
        if strategy in ("collaborative", "hybrid"):
            weight = mixture["collaborative"] if strategy == "hybrid" else 1.0
            parts["collaborative"] = weight * self._collaborative(batch).toarray()
        parts["popularity"] = np.broadcast_to(self._prior(states, mixture if strategy == "hybrid" else EVEN), shape)
        total = np.stack([parts[name] for name in PARTS[strategy]]).sum(axis=0, dtype=np.float32)
        share = long_share(long, short) if strategy == "hybrid" else np.full(len(states), np.nan, np.float32)
        return Scores(total, parts, share)

    def totals(self, states: Sequence[UserState], strategy: Strategy = "hybrid") -> tuple[np.ndarray, np.ndarray]:
        """`total` and `long_share` of `score`, to the rounding: without the parts many users are scored in less time
        and memory."""
        if strategy != "hybrid":
            scores = self.score(states, strategy)
            return scores.total, scores.long_share
        batch, mixture = self._collate(states), self.bundle.manifest["mixture"]
        long, short = self.user_parts(batch)
        total = (long + short) @ self.bundle.vectors.T
        total += self._prior(states, mixture)
        if mixture["collaborative"]:
            added = self._collaborative(batch).tocoo()
            total[added.row, added.col] += np.float32(mixture["collaborative"]) * added.data
        return total, long_share(long, short)

    def priors(self, states: Sequence[UserState]) -> dict[str, np.ndarray]:
        """Each of PRIORS unweighted, float32 (users, items), or (1, items) where it is the same for all."""
        moments = np.array([state.now for state in states])
        return {"popularity": self._popularity, "recent": self.trend.scores(moments)}

    def _prior(self, states: Sequence[UserState], weights: Mapping[str, float]) -> np.ndarray:
        """The sum of those that have a weight; (1, items) zeros without any."""
        weighted = [np.float32(weights[name]) * part for name, part in self.priors(states).items() if weights[name]]
        return np.asarray(sum(weighted, start=np.zeros_like(self._popularity)))

    def _collate(self, states: Sequence[UserState]) -> StateBatch:
        manifest = self.bundle.manifest
        return collate(list(states), history=manifest["history"], dimension=manifest["dimension"])

    def user_parts(self, batch: StateBatch) -> tuple[np.ndarray, np.ndarray]:
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

    def _decayed(self, batch: StateBatch) -> sparse.csr_matrix:
        """(users, items): each history item's signal, halved every half life."""
        return self._histories(
            batch, batch.signals * np.exp2(-batch.ages / np.float32(self.bundle.manifest["half_life_days"]))
        )

    def _histories(self, batch: StateBatch, weights: np.ndarray) -> sparse.csr_matrix:
        users = np.repeat(np.arange(len(weights)), weights.shape[1])
        shape = (len(weights), self.bundle.items.num_rows)
        return sparse.csr_matrix((weights.ravel(), (users, batch.items.ravel())), shape=shape)

    def _collaborative(self, batch: StateBatch) -> sparse.csr_matrix:
        recent = self._histories(batch, recency_weights(batch.signals, self.bundle.manifest["recency"]))
        return (recent @ self.bundle.neighbours).astype(np.float32)

    def _content(self, batch: StateBatch) -> np.ndarray:
        profile = self._decayed(batch) @ self.bundle.texts + batch.documents.sum(axis=1)
        norms = np.linalg.norm(profile, axis=1, keepdims=True)
        return (profile / np.maximum(norms, 1e-9)).astype(np.float32) @ self.bundle.texts.T


def long_share(long: np.ndarray, short: np.ndarray) -> np.ndarray:
    """|long| / (|long| + |short|) of each user; NaN where both are zero. Shapes (users, width) to (users,)."""
    sizes = np.linalg.norm(long, axis=1), np.linalg.norm(short, axis=1)
    both = sizes[0] + sizes[1]
    return np.where(both > 0, sizes[0] / np.where(both > 0, both, 1.0), np.nan).astype(np.float32)
