"""Metrics of ranked lists, one target an answer, and the ranking itself.

Lists are arrays (targets, places) of item rows, best first, -1 where a place is empty.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from scipy import sparse

EMPTY = -1
_CHUNK = 512
BLOCKS = 8
"""Blocks of items, for each place of a list, of which `top_k` takes the best first."""

Exclusion: TypeAlias = sparse.csr_matrix | Sequence[np.ndarray]
"""Items that must not be ranked: a mask (targets, items), or the item rows of each target."""


def top_k(scores: np.ndarray, k: int, exclude: Exclusion | None = None) -> np.ndarray:
    """The k best item rows of each row of `scores` (B, n), best first, as int64 (B, k).

    Ties go to the lower row. NaN and -inf are never ranked, nor is what `exclude` holds; the places left are -1.
    """
    costs = -scores
    if exclude is not None:
        costs[_pairs(exclude)] = np.inf
    count, places = len(costs), min(k, costs.shape[1])
    lists = np.full((count, k), EMPTY, dtype=np.int64)
    if not count or not places:
        return lists
    rows, items = np.nonzero((costs <= _bound(costs, places)) & (costs < np.inf))
    order = np.lexsort((items, costs[rows, items], rows))
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    first = place < places
    lists[rows[first], place[first]] = items[first]
    return lists


def rank(score: Callable[[slice], np.ndarray], exclude: Exclusion, k: int) -> np.ndarray:
    """Lists (T, k) of all targets; `score` gives (B, n) for a slice of them, `exclude` tells what each has seen."""
    count = len(exclude) if isinstance(exclude, Sequence) else exclude.shape[0]
    parts = [slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if not parts:
        return np.empty((0, k), dtype=np.int64)
    return np.concatenate([top_k(score(part), k, exclude[part]) for part in parts])


def _pairs(exclude: Exclusion) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(exclude, Sequence):
        return exclude.nonzero()
    rows = np.repeat(np.arange(len(exclude)), [len(items) for items in exclude])
    return rows, np.concatenate([*exclude, np.empty(0)]).astype(np.int64)


def _bound(costs: np.ndarray, k: int) -> np.ndarray:
    """Per row a value (B, 1) that at least k costs do not exceed, and few more: the k-th least minimum of a block."""
    block = max(1, costs.shape[1] // (BLOCKS * k))
    minima = np.fmin.reduceat(costs, np.arange(0, costs.shape[1], block), axis=1)
    least = np.partition(minima, k - 1, axis=1)[:, k - 1, None]
    return np.where(np.isnan(least), np.inf, least)


def target_ranks(lists: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Place of each target in its list, from 1, as int64 (T,); 0 where it is not among the first k.

    targets: item rows (T,); -1, an item that the catalogue lacks, is never found.
    """
    found = (lists[:, :k] == targets[:, None]) & (lists[:, :k] != EMPTY)
    return (
        np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0) if found.shape[1] else np.zeros(len(lists), np.int64)
    )


def hit_rate(ranks: np.ndarray) -> np.ndarray:
    """HR@k of each target: 1 where it was ranked."""
    return (ranks > 0).astype(np.float64)


def ndcg(ranks: np.ndarray) -> np.ndarray:
    """NDCG@k of each target (Järvelin, Kekäläinen 2002): 1 / log2(rank + 1), as one relevant item has an ideal of 1."""
    return np.where(ranks > 0, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """MRR@k of each target: 1 / rank."""
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


def coverage(lists: np.ndarray) -> int:
    """Distinct items in all lists."""
    return len(np.unique(lists[lists != EMPTY]))


def user_share(interactions: sparse.csr_matrix) -> np.ndarray:
    """Share of the training users who have each item, (n,), from a binary matrix (users, items).

    An item that nobody has counts as one person among one more than there are: 1 / (users + 1).
    """
    users = int((interactions.getnnz(axis=1) > 0).sum())
    holders = interactions.getnnz(axis=0)
    return np.where(holders > 0, holders / max(users, 1), 1.0 / (users + 1))


def novelty(lists: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mean of -log2(share) over the items of each list, in bits (T,); NaN where a list is empty.

    share: `user_share` (n,). The self-information of Zhou et al. 2010.
    """
    present = lists != EMPTY
    bits = np.where(present, -np.log2(share)[lists], 0.0)
    return _ratio(bits.sum(axis=1), present.sum(axis=1))


def diversity(lists: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """1 - mean pairwise cosine of the text vectors in each list (T,); NaN where fewer than two items have a text.

    texts: unit rows (n, e), a zero row has no text. Intra-list distance of Ziegler et al. 2005.
    """
    return np.concatenate(
        [np.empty(0), *(_diversity(lists[i : i + _CHUNK], texts) for i in range(0, len(lists), _CHUNK))]
    )


def _diversity(lists: np.ndarray, texts: np.ndarray) -> np.ndarray:
    vectors = np.where((lists != EMPTY)[..., None], texts[lists], 0.0)
    squares = np.square(vectors).sum(axis=2)
    count = (squares > 0).sum(axis=1)
    # the square of a sum holds every pair twice, and every vector with itself
    pairs = np.square(vectors.sum(axis=1)).sum(axis=1) - squares.sum(axis=1)
    return 1.0 - _ratio(pairs, count * (count - 1))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
