"""One list: the best candidates, re-ranked. The service, the batch job and the evaluation all build it here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.ranking.candidates import Candidates, Question
from components.ranking.rerank import in_tail, rerank
from components.settings import RankingSettings

POOL = 200
"""Candidates that are re-ranked at first; twice as many, and so on, while the list is too short."""

Pick = Callable[[NDArray[np.float64]], int]
"""Chooses the next position of a list by values, float (c,), -inf for who may not come next."""


@dataclass(frozen=True)
class Rules:
    """What re-ranking asks for beside the score, see `components.ranking.rerank`."""

    diversity: float = 0.0
    category_cap: int = 0
    tail_share: float = 0.0

    @classmethod
    def of(cls, settings: RankingSettings) -> "Rules":
        return cls(settings.diversity, settings.category_cap, settings.tail_share)

    @property
    def rerank(self) -> bool:
        """Whether lists may differ from those that the scores alone give."""
        return bool(self.diversity or self.category_cap or self.tail_share)


class ListBuilder:
    """Builds lists of the items of one bundle. Any thread may use it."""

    def __init__(
        self,
        bundle: Bundle,
        candidates: Candidates,
        tail: NDArray[np.bool_],
        categories: Callable[[int], Sequence[str]],
    ) -> None:
        """
        Args:
            tail: Bool (items,), see `components.ranking.rerank`.
            categories: Of the item in a row.
        """
        self._texts = bundle.texts
        self._candidates = candidates
        self._tail = tail
        self._categories = categories

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "ListBuilder":
        """For scores that are known for all items: no index is asked, categories are those of the training."""
        categories = bundle.items[Columns.CATEGORY].to_pylist()
        exact = Candidates(bundle, bundle.items.num_rows + 1)
        return cls(bundle, exact, in_tail(numbers(bundle.items["popularity"])), categories.__getitem__)

    def build(
        self, question: Question, mask: NDArray[np.bool_], k: int, rules: Rules, pick: Pick | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows of at most k items, int64 (r,), in the order to show them, and their scores, float32 (r,).

        Args:
            mask: Bool (items,), what may be shown.
            pick: Of exploration; the best one comes next without.
        """
        plain = pick is None and not rules.rerank
        rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        chosen: Sequence[int] = []
        for more_rows, more_scores in self._candidates.batches(question, mask, k if plain else POOL):
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
    """A question that was answered for all items before."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        """scores: float32 (items,)."""
        self._scores = scores

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        return self._scores if rows is None else self._scores[rows]

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        return np.flatnonzero(mask)
