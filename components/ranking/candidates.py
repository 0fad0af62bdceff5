"""Candidate generation: all items of a small catalogue, retrieved candidates of a large one.

In a large catalogue candidates are the nearest items in an index, the neighbours of the history, the most popular items
and the items newer than the index. Their scores are always exact. Further batches retrieve more candidates, and
finally all remaining items, so every item that passes the filters is reachable.
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
"""Scale of the popularity dimension in the index, below 1 because user vectors are longer than 1."""
MIN_CANDIDATES = 500
"""Minimum number of candidates requested from an index."""
CANDIDATES_PER_RESULT = 10
"""Candidates requested from an index per item of the batch."""
MAX_INDEXED_SIZE = 1_000
"""Batch size from which on all remaining items are scored instead."""
SPARSE_SCORING_SHARE = 1 / 16
"""Share of a large catalogue up to which only the remaining rows are scored, instead of all in one product."""
log = logging.getLogger(__name__)


def with_indexes(bundle: Bundle, exact_below: int) -> Bundle:
    """Adds nearest-neighbour indexes to a bundle of at least `exact_below` items; smaller ones are returned unchanged.

    The item vectors are extended by the weighted popularity as of the cut, so that the inner product with
    `index_query(U)` is the hybrid score without the collaborative part and later changes of the trend. The text index
    has one code per dimension, because it has no other signal to order by.
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
    """The query vector (width + 1,) for the index of item vectors, from U (width,)."""
    return np.append(user, np.float32(1 / PRIOR_SCALE))


def hybrid_prior(bundle: Bundle) -> NDArray[np.float32]:
    """Weighted popularity in the hybrid score of each item (items,), as of the bundle's cut."""
    weights = bundle.manifest["mixture"]
    parts = [weights[name] * trend_scores(numbers(bundle.items[name])[None])[0] for name in PRIORS]
    return np.asarray(sum(parts), dtype=np.float32)


class RetrievalQuery(Protocol):
    """A retrieval query: scores items and retrieves candidates."""

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Scores (rows,) of distinct item rows, or of all items where None."""
        ...

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Candidate rows, about `count` per source; may contain duplicates and rows outside the mask (items,)."""
        ...


class Candidates:
    """Ranks the items of one bundle for a query, in batches. Thread-safe."""

    def __init__(self, bundle: Bundle, exact_below: int) -> None:
        """
        Args:
            exact_below: Catalogues with fewer items, before or after filtering, are scored exhaustively.
        """
        size = bundle.items.num_rows
        self._size, self._exact_below = size, exact_below
        self._large = size >= exact_below and bool(bundle.indexes)
        if size >= exact_below and not self._large:
            log.warning(
                "%d items without an index: every request scores all of them until a retraining writes one", size
            )

    def batches(
        self, query: RetrievalQuery, mask: NDArray[np.bool_], size: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yields batches of (rows, scores), each in descending order, ties by row, until no item is left.

        Args:
            mask: Items that may be returned (items,).
            size: Size of the first batch; each further batch is twice as large.
        """
        remaining = mask.copy()
        if self._large and np.count_nonzero(remaining) >= self._exact_below:
            while size < MAX_INDEXED_SIZE:
                rows = np.sort(query.near(remaining, max(MIN_CANDIDATES, CANDIDATES_PER_RESULT * size)))
                rows = rows[remaining[rows] & (np.diff(rows, prepend=-1) > 0)]
                if len(rows) < size:
                    break
                scores = query.scores(rows)
                best = best_first(scores, size)
                yield rows[best], scores[best]
                remaining[rows[best]] = False
                size *= 2
        rows = np.flatnonzero(remaining)
        scores = self._exact(query, rows)
        while len(rows):
            best = best_first(scores, size)
            yield rows[best], scores[best]
            rows, scores = np.delete(rows, best), np.delete(scores, best)
            size *= 2

    def _exact(self, query: RetrievalQuery, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._large and len(rows) <= SPARSE_SCORING_SHARE * self._size:
            return query.scores(rows)
        return query.scores(None)[rows]
