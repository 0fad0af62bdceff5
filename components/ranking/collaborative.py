"""The collaborative part: a linear next-item model, exact for small catalogues, first-order for large ones.

The history after event t is a vector x_t in which an item has the weight recency^(number of later events); y_t is the
next item. Small catalogues solve the ridge regression W = (X'X + λI)^-1 X'Y: SLIT of Choi et al. 2021 (Session-aware
Linear Item-Item Models, arXiv 2103.16104). Large ones keep only the diagonal of X'X, which makes W sparse: W_ij =
(X'Y)_ij / ((X'X)_ii + λ) / n_j^α, i.e. how often j follows i, shrunk where i is rare and damped where j is popular.
This is the sequential form of the conditional probability of Deshpande and Karypis 2004 (Item-Based Top-N
Recommendation Algorithms).
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from components.settings import RankingSettings

POPULARITY_DAMPING = 0.5
"""α of the first-order weights, the damping of popular items."""
MIN_WEIGHT = 0.05
"""Minimum weight of a history item in x."""
CHUNK = 6_000_000
"""Pairs of an event and an earlier one processed per chunk."""


def item_neighbours(
    offsets: NDArray[np.int64], items: NDArray[np.int64], n_items: int, settings: RankingSettings
) -> sparse.csr_matrix:
    """Item-item weights.

    Args:
        offsets: Position of each user's first event in `items` (users + 1,).
        items: Item rows of all positive events (events,), each user's oldest first.
        n_items: Size of the catalogue.

    Returns:
        Sparse float32 (items, items); row = item of the history, column = candidate, at most `settings.neighbours`
        entries per row.
    """
    dense = n_items < settings.dense_below
    following = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    gram = np.zeros((n_items, n_items) if dense else n_items, dtype=np.float32)
    for history, targets in regression_chunks(offsets, items, n_items, settings.recency):
        following = following + (history.T @ targets).tocsr()
        gram += (history.T @ history).toarray() if dense else np.asarray(history.power(2).sum(axis=0)).ravel()
    if dense:
        gram[np.diag_indices(n_items)] += settings.regularization
        solved = linalg.solve(
            gram, following.toarray(), assume_a="pos", overwrite_a=True, overwrite_b=True, check_finite=False
        )
        np.fill_diagonal(solved, 0.0)
        return keep_largest(solved, settings.neighbours)
    popularity_damping = np.maximum(np.bincount(items, minlength=n_items), 1) ** np.float32(-POPULARITY_DAMPING)
    shrinkage = 1 / (gram + np.float32(settings.regularization))
    weights = (
        (sparse.diags_array(shrinkage) @ following @ sparse.diags_array(popularity_damping)).tocsr().astype(np.float32)
    )
    weights.setdiag(0.0)
    weights.eliminate_zeros()
    return keep_largest_sparse(weights, settings.neighbours)


def regression_chunks(
    offsets: NDArray[np.int64], items: NDArray[np.int64], n_items: int, recency: float
) -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    """Chunks of (x_t, y_t), two sparse matrices (events, items); the first event of a user has empty rows."""
    position = np.arange(len(items)) - np.repeat(offsets[:-1], np.diff(offsets))
    max_lag = 1 + int(math.log(MIN_WEIGHT) / math.log(recency))
    chunk = max(1, CHUNK // max_lag)
    for start in range(0, len(items), chunk):
        events = np.arange(start, min(start + chunk, len(items)))
        positions_by_lag = [events[position[events] > lag] for lag in range(max_lag)]
        rows = np.concatenate(positions_by_lag) - start
        columns = np.concatenate([items[positions - 1 - lag] for lag, positions in enumerate(positions_by_lag)])
        values = np.repeat(recency ** np.arange(max_lag), [len(positions) for positions in positions_by_lag]).astype(
            np.float32
        )
        shape = (len(events), n_items)
        history = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        has_history = (position[events] > 0).astype(np.float32)
        yield history, sparse.csr_matrix((has_history, (np.arange(len(events)), items[events])), shape=shape)


def keep_largest(weights: NDArray[np.floating], count: int) -> sparse.csr_matrix:
    """Keeps the `count` entries of each row with the largest magnitude, as a sparse matrix."""
    if weights.shape[1] > count:
        magnitude = np.abs(weights)
        threshold = np.partition(magnitude, -count, axis=1)[:, -count][:, None]
        weights = np.where(magnitude >= threshold, weights, 0.0)
    return sparse.csr_matrix(weights)


def keep_largest_sparse(weights: sparse.csr_matrix, count: int) -> sparse.csr_matrix:
    """`keep_largest` of a sparse matrix."""
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    order = np.lexsort((-np.abs(weights.data), rows))
    kept = order[np.arange(len(rows)) - weights.indptr[rows] < count]
    return sparse.csr_matrix((weights.data[kept], (rows[kept], weights.indices[kept])), shape=weights.shape)
