"""Ranking metrics with one relevant item (target) per list.

Lists are arrays (targets, k) of item rows, best first, padded with -1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from components.arrays.topk import EMPTY

_CHUNK = 512


def target_ranks(lists: NDArray[np.int64], targets: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Rank of each target in its list (targets,), from 1; 0 if it is not in the top k.

    Args:
        targets: Item rows (targets,); -1, an item outside the catalogue, never matches.
    """
    hits = (lists[:, :k] == targets[:, None]) & (lists[:, :k] != EMPTY)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0) if hits.shape[1] else np.zeros(len(lists), np.int64)


def hit_rate(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """HR@k of each target: 1 if it is in the top k."""
    return (ranks > 0).astype(np.float64)


def ndcg(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """NDCG@k of each target (Järvelin, Kekäläinen 2002): 1 / log2(rank + 1), as the ideal DCG of one item is 1."""
    return np.where(ranks > 0, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def reciprocal_rank(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """MRR@k of each target: 1 / rank."""
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


def coverage(lists: NDArray[np.int64]) -> int:
    """Number of distinct items in all lists."""
    return len(np.unique(lists[lists != EMPTY]))


def user_share(interactions: sparse.csr_matrix) -> NDArray[np.float64]:
    """Share of the training users with each item (items,), from a binary matrix (users, items).

    An item without users gets 1 / (users + 1).
    """
    users = int((interactions.getnnz(axis=1) > 0).sum())
    holders = interactions.getnnz(axis=0)
    return np.where(holders > 0, holders / max(users, 1), 1.0 / (users + 1))


def novelty(lists: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean self-information of each list's items in bits (targets,), see Zhou et al. 2010; NaN for an empty list.

    Args:
        share: `user_share` of each item (items,).
    """
    present = lists != EMPTY
    bits = np.where(present, -np.log2(share)[lists], 0.0)
    return _ratio(bits.sum(axis=1), present.sum(axis=1))


def diversity(lists: NDArray[np.int64], texts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intra-list distance (Ziegler et al. 2005): 1 - mean pairwise cosine of the texts in each list (targets,).

    NaN where fewer than two items have a text.

    Args:
        texts: Unit text vectors (items, encoder dims); a zero row has no text.
    """
    return np.concatenate(
        [np.empty(0), *(_diversity(lists[i : i + _CHUNK], texts) for i in range(0, len(lists), _CHUNK))]
    )


def _diversity(lists: NDArray[np.int64], texts: NDArray[np.floating]) -> NDArray[np.float64]:
    vectors = np.where((lists != EMPTY)[..., None], texts[lists], 0.0)
    squares = np.square(vectors).sum(axis=2)
    count = (squares > 0).sum(axis=1)
    # the squared sum contains every pair twice, and each vector's square
    pairs = np.square(vectors.sum(axis=1)).sum(axis=1) - squares.sum(axis=1)
    return 1.0 - _ratio(pairs, count * (count - 1))


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
