"""Builds one list from the best candidates and re-ranks it; shared by service, batch job and evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.ranking.candidates import Candidates, RetrievalQuery
from components.ranking.rerank import in_tail, rerank
from components.settings import RankingSettings

POOL = 200
"""Candidates re-ranked at first; doubled while the list is too short."""

Pick = Callable[[NDArray[np.float64]], int]
"""Picks the next candidate from their values (candidates,), -inf for those not allowed at this position."""


@dataclass(frozen=True)
class Rules:
    """Parameters of the re-ranking, see `components.ranking.rerank`."""

    diversity: float = 0.0
    category_cap: int = 0
    tail_share: float = 0.0

    @classmethod
    def of(cls, settings: RankingSettings) -> "Rules":
        return cls(settings.diversity, settings.category_cap, settings.tail_share)

    @property
    def rerank(self) -> bool:
        """Whether any re-ranking is configured."""
        return bool(self.diversity or self.category_cap or self.tail_share)


class ListBuilder:
    """Builds lists of the items of one bundle. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        candidates: Candidates,
        tail: NDArray[np.bool_],
        categories: Callable[[int], Sequence[str]],
    ) -> None:
        """
        Args:
            tail: Whether an item is in the tail (items,), see `in_tail`.
            categories: Returns the categories of an item row.
        """
        self._texts = bundle.texts
        self._candidates = candidates
        self._tail = tail
        self._categories = categories

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "ListBuilder":
        """A builder for precomputed scores of all items: no index, categories as of the training."""
        categories = bundle.items[Columns.CATEGORY].to_pylist()
        exact = Candidates(bundle, bundle.items.num_rows + 1)
        return cls(bundle, exact, in_tail(numbers(bundle.items["popularity"])), categories.__getitem__)

    def build(
        self, query: RetrievalQuery, mask: NDArray[np.bool_], k: int, rules: Rules, pick: Pick | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Builds a list of at most k items.

        Args:
            query: Scores and retrieves the items.
            mask: Items that may be shown (items,).
            pick: Picks the next candidate, for exploration; by default the best one.

        Returns:
            Item rows in display order (n,) and their scores (n,).
        """
        plain = pick is None and not rules.rerank
        rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        chosen: Sequence[int] = []
        for more_rows, more_scores in self._candidates.batches(query, mask, k if plain else POOL):
            rows, scores = np.concatenate([rows, more_rows]), np.concatenate([scores, more_scores])
            chosen = range(min(k, len(rows))) if plain else rerank(
                scores, self._texts[rows], [self._categories(row) for row in rows.tolist()], k,
                diversity=rules.diversity, category_cap=rules.category_cap, tail=self._tail[rows],
                tail_share=rules.tail_share, above=chosen, pick=pick or np.argmax,
            )  # fmt: skip
            if len(chosen) >= k:
                break
        return rows[chosen], scores[chosen]


class PrecomputedScores:
    """A query whose scores of all items are already computed."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        """
        Args:
            scores: Of all items (items,).
        """
        self._scores = scores

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        return self._scores if rows is None else self._scores[rows]

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        return np.flatnonzero(mask)
