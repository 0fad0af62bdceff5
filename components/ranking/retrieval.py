"""Retrieval queries: user-to-item recommendation and item-to-item similarity."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from components.arrays.sparse import Weights, row_entries
from components.bundle.bundle import Bundle
from components.ranking.candidates import index_query
from components.ranking.filters import best_first
from components.ranking.scorer import Query, Scorer, Strategy

MAX_NEIGHBOUR_CANDIDATES = 5_000
"""Maximum candidates from the collaborative neighbours of the history."""
MIN_POPULAR_CANDIDATES = 500
"""Minimum number of popular candidates."""
TEXT_CANDIDATES_FACTOR = 4
"""Factor on the number of candidates by text: the text index has no other signal, and its codes are coarse."""
MAX_CACHED_POPULAR = 10_000
"""Popular items kept in the cache, enough for some to pass a filter."""


class PopularItems:
    """Cache of the most popular items, recomputed when the trend changes. Thread-safe."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._cached: dict[tuple[Strategy, bool], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def rows(self, query: Query) -> NDArray[np.int64]:
        """Item rows, most popular first, at most MAX_CACHED_POPULAR."""
        (state,), trend = query.states, self._scorer.trend.scores(np.array([query.states[0].now]))
        cached = self._cached.get((query.strategy, state.is_cold))
        if cached is None or cached[0] is not trend:
            cached = trend, best_first(self._scorer.prior(replace(query, among=None))[0], MAX_CACHED_POPULAR)
            self._cached[query.strategy, state.is_cold] = cached
        return cached[1]


class UserRetrieval:
    """Items for one user."""

    def __init__(self, scorer: Scorer, query: Query, popular: PopularItems) -> None:
        """
        Args:
            query: The scorer's query of this user alone.
        """
        self._scorer, self._query, self._popular = scorer, query, popular

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        return self._scorer.total(self._query, rows)[0]

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Nearest by U and popularity, or by content profile; collaborative neighbours; popular items; new items."""
        query, indexes = self._query, self._scorer.bundle.indexes
        popular = self._popular.rows(query)
        candidates = [
            popular[mask[popular]][: max(MIN_POPULAR_CANDIDATES, count)],
            _items_after_index(self._scorer.bundle),
        ]
        if query.among is not None:
            candidates.append(popular[(mask & query.among)[popular]][: max(MIN_POPULAR_CANDIDATES, count)])
        if query.long is not None and query.short is not None:
            candidates.append(indexes["vectors"].search(index_query(query.long[0] + query.short[0]), count, mask))
        if query.content is not None:
            candidates.append(indexes["texts"].search(query.content[0], TEXT_CANDIDATES_FACTOR * count, mask))
        if query.collaborative is not None:
            candidates.append(_neighbour_candidates(query.collaborative))
        return np.concatenate(candidates)


class ItemRetrieval:
    """Items similar to an item: the mean of the cosines of vectors and texts."""

    def __init__(self, bundle: Bundle, row: int) -> None:
        self._bundle, self._row = bundle, row
        self._direction = bundle.vectors[row] / max(np.linalg.norm(bundle.vectors[row]), 1e-9)

    def scores(self, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
        selected = slice(None) if rows is None else rows
        vectors = self._bundle.vectors[selected]
        cosines = vectors @ self._direction / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
        return (cosines + self._bundle.texts[selected] @ self._bundle.texts[self._row]) / 2

    def near(self, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        indexes = self._bundle.indexes
        by_vector = indexes["vectors"].search(np.append(self._direction, 0.0), count, mask)
        by_text = indexes["texts"].search(self._bundle.texts[self._row], TEXT_CANDIDATES_FACTOR * count, mask)
        return np.concatenate([by_vector, by_text, _items_after_index(self._bundle)])


def _items_after_index(bundle: Bundle) -> NDArray[np.int64]:
    """Rows of the items added after the index was built."""
    return np.arange(bundle.indexes["vectors"].size, bundle.items.num_rows)


def _neighbour_candidates(collaborative: Weights) -> NDArray[np.int64]:
    """Columns with the largest positive weights, of weights (1, items)."""
    columns, weights = row_entries(collaborative, 0)
    above = weights > 0
    return columns[above][best_first(weights[above], MAX_NEIGHBOUR_CANDIDATES)].astype(np.int64)
