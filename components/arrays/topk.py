"""Top-k selection of scores.

Lists are arrays (targets, k) of item rows, best first, padded with -1.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

EMPTY = -1
_CHUNK = 512
BLOCKS_PER_PLACE = 8
"""Blocks of items per list position whose minima bound the k-th best cost in `top_k`."""

Exclusion: TypeAlias = sparse.csr_matrix | Sequence[NDArray[np.int64]]
"""Items that must not be ranked: a sparse mask (targets, items), or the item rows of each target."""


def top_k(scores: NDArray[np.floating], k: int, exclude: Exclusion | None = None) -> NDArray[np.int64]:
    """The k best items of each row of `scores`, best first.

    Args:
        scores: (batch, items). NaN and -inf are never ranked; ties go to the lower item row.
        k: Length of the lists.
        exclude: Items left out.

    Returns:
        Lists (batch, k) of item rows, padded with -1.
    """
    costs = -scores
    if exclude is not None:
        costs[_excluded_pairs(exclude)] = np.inf
    count, length = len(costs), min(k, costs.shape[1])
    lists = np.full((count, k), EMPTY, dtype=np.int64)
    if not count or not length:
        return lists
    rows, items = np.nonzero((costs <= _cost_bound(costs, length)) & (costs < np.inf))
    order = np.lexsort((items, costs[rows, items], rows))
    rows, items = rows[order], items[order]
    position = np.arange(len(rows)) - np.searchsorted(rows, rows)
    first = position < length
    lists[rows[first], position[first]] = items[first]
    return lists


def rank(score: Callable[[slice], NDArray[np.floating]], exclude: Exclusion, k: int) -> NDArray[np.int64]:
    """Ranks all targets in chunks.

    Args:
        score: Returns the scores (batch, items) of a slice of the targets.
        exclude: Items left out, e.g. those that each user has seen.
        k: Length of the lists.

    Returns:
        Lists (targets, k) of item rows, padded with -1.
    """
    count = len(exclude) if isinstance(exclude, Sequence) else exclude.shape[0]
    parts = [slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if not parts:
        return np.empty((0, k), dtype=np.int64)
    return np.concatenate([top_k(score(part), k, exclude[part]) for part in parts])


def _excluded_pairs(exclude: Exclusion) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    if not isinstance(exclude, Sequence):
        return exclude.nonzero()
    rows = np.repeat(np.arange(len(exclude)), [len(items) for items in exclude])
    return rows, np.concatenate([*exclude, np.empty(0)]).astype(np.int64)


def _cost_bound(costs: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """An upper bound (batch, 1) of the k-th smallest cost per row: the k-th smallest of the block minima."""
    block = max(1, costs.shape[1] // (BLOCKS_PER_PLACE * k))
    minima = np.fmin.reduceat(costs, np.arange(0, costs.shape[1], block), axis=1)
    least = np.partition(minima, k - 1, axis=1)[:, k - 1, None]
    return np.where(np.isnan(least), np.inf, least)
