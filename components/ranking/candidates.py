"""What may be in an answer, best first: of a small catalogue all items, of a large one those that may be the best.

The candidates of a large catalogue are the items nearest to the user in an index, those that the history leads to, the
most wanted ones and those younger than the index; what they score is always exact. Who reads on gets more of them, and
in the end all the others: nothing that fits a filter is out of reach.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from components.arrays.ann import NearestItems
from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.histories.signals import trend_scores
from components.ranking.filters import best_first
from components.ranking.scorer import PRIORS

PRIOR_SCALE = 0.5
"""What popularity counts in the distance between items: less than their vectors, as users have longer ones than 1."""
DEPTH = 500
"""Items that an index is asked for at least, and BREADTH times as many as are wanted."""
CANDIDATES_PER_RESULT = 10
MAX_INDEXED_SIZE = 1_000
"""Wanted at once, from which on all that is left is scored."""
SPARSE_SCORING_SHARE = 1 / 16
"""Share of a large catalogue up to which rows are scored alone, and not all of them at once."""
log = logging.getLogger(__name__)


def with_indexes(bundle: Bundle, exact_below: int) -> Bundle:
    """The bundle with its indexes; as it is where it has fewer than `exact_below` items, which are scored one by one.

    Behind an item's vector stands its popularity, of all time and lately as of the cut, as it weighs in the score, so
    that the inner product with `asked` of U is the score but for the collaborative part and for what became of the
    trend. Nothing but their texts makes the order by text: each of their dimensions has a code of its own.
    """
    size = bundle.items.num_rows
    if size < exact_below:
        return bundle
    prior = PRIOR_SCALE * hybrid_prior(bundle)[:, None]
    return replace(
        bundle,
        indexes={
            "vectors": NearestItems.build(size, lambda rows: np.hstack([bundle.vectors[rows], prior[rows]])),
            "texts": NearestItems.build(size, lambda rows: bundle.texts[rows], dims_per_code=1),
        },
    )


def index_query(user: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is asked of the index of vectors, float32 (width + 1,), by U (width,)."""
    return np.append(user, np.float32(1 / PRIOR_SCALE))


def hybrid_prior(bundle: Bundle) -> NDArray[np.float32]:
    """Float32 (items,): what popularity adds to the score of the hybrid strategy at the bundle's cut."""
    weights = bundle.manifest["mixture"]
    parts = [weights[name] * trend_scores(numbers(bundle.items[name])[None])[0] for name in PRIORS]
    return np.asarray(sum(parts), dtype=np.float32)


class Question(Protocol):
    """What scores the items of a bundle."""

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Float32 (r,) of int64 rows (r,) without repetition, or of all."""
        ...

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Int64 rows that may score best, some more than once, some not under the mask: `count` of each kind, or so."""
        ...


class Candidates:
    """The items of one bundle. Any thread may ask."""

    def __init__(self, bundle: Bundle, exact_below: int) -> None:
        """exact_below: catalogues, or what a filter leaves of them, with fewer items are scored item by item."""
        size = bundle.items.num_rows
        self._size, self._exact_below = size, exact_below
        self._large = size >= exact_below and bool(bundle.indexes)
        if size >= exact_below and not self._large:
            log.warning("%d items without an index: every answer scores them all, until a retraining writes one", size)

    def batches(
        self, question: Question, mask: NDArray[np.bool_], size: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows under the mask, bool (items,), and their scores, best first: `size` of them, then twice as many, and so
        on until there are no more. Equal scores come in the order of their rows."""
        remaining = mask.copy()
        if self._large and np.count_nonzero(remaining) >= self._exact_below:
            while size < MAX_INDEXED_SIZE:
                rows = np.sort(question.near(remaining, max(DEPTH, CANDIDATES_PER_RESULT * size)))
                rows = rows[remaining[rows] & (np.diff(rows, prepend=-1) > 0)]
                if len(rows) < size:
                    break
                scores = question.scores(rows)
                best = best_first(scores, size)
                yield rows[best], scores[best]
                remaining[rows[best]] = False
                size *= 2
        rows = np.flatnonzero(remaining)
        scores = self._exact(question, rows)
        while len(rows):
            best = best_first(scores, size)
            yield rows[best], scores[best]
            rows, scores = np.delete(rows, best), np.delete(scores, best)
            size *= 2

    def _exact(self, question: Question, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._large and len(rows) <= SPARSE_SCORING_SHARE * self._size:
            return question.scores(rows)
        return question.scores(None)[rows]
