"""The best of many scores, as lists.

Lists are arrays (targets, places) of item rows, best first, -1 where a place is empty.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

EMPTY = -1
_CHUNK = 512
BLOCKS_PER_PLACE = 8
"""Blocks of items, for each place of a list, of which `top_k` takes the best first."""

Exclusion: TypeAlias = sparse.csr_matrix | Sequence[NDArray[np.int64]]
"""Items that must not be ranked: a mask (targets, items), or the item rows of each target."""


def top_k(scores: NDArray[np.floating], k: int, exclude: Exclusion | None = None) -> NDArray[np.int64]:
    """The k best item rows of each row of `scores` (B, n), best first, as int64 (B, k).

    Ties go to the lower row. NaN and -inf are never ranked, nor is what `exclude` holds; the places left are -1.
    """
    costs = -scores
    if exclude is not None:
        costs[_excluded_pairs(exclude)] = np.inf
    count, places = len(costs), min(k, costs.shape[1])
    lists = np.full((count, k), EMPTY, dtype=np.int64)
    if not count or not places:
        return lists
    rows, items = np.nonzero((costs <= _cost_bound(costs, places)) & (costs < np.inf))
    order = np.lexsort((items, costs[rows, items], rows))
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    first = place < places
    lists[rows[first], place[first]] = items[first]
    return lists


def rank(score: Callable[[slice], NDArray[np.floating]], exclude: Exclusion, k: int) -> NDArray[np.int64]:
    """Lists (T, k) of all targets; `score` gives (B, n) for a slice of them, `exclude` tells what each has seen."""
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
    """Per row a value (B, 1) that at least k costs do not exceed, and few more: the k-th least minimum of a block."""
    block = max(1, costs.shape[1] // (BLOCKS_PER_PLACE * k))
    minima = np.fmin.reduceat(costs, np.arange(0, costs.shape[1], block), axis=1)
    least = np.partition(minima, k - 1, axis=1)[:, k - 1, None]
    return np.where(np.isnan(least), np.inf, least)
