"""Metrics of ranked lists, one target an answer.

Lists are arrays (targets, places) of item rows, best first, -1 where a place is empty.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from components.arrays.topk import EMPTY

_CHUNK = 512


def target_ranks(lists: NDArray[np.int64], targets: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Place of each target in its list, from 1, as int64 (T,); 0 where it is not among the first k.

    targets: item rows (T,); -1, an item that the catalogue lacks, is never found.
    """
    found = (lists[:, :k] == targets[:, None]) & (lists[:, :k] != EMPTY)
    return (
        np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0) if found.shape[1] else np.zeros(len(lists), np.int64)
    )


def hit_rate(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """HR@k of each target: 1 where it was ranked."""
    return (ranks > 0).astype(np.float64)


def ndcg(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """NDCG@k of each target (Järvelin, Kekäläinen 2002): 1 / log2(rank + 1), as one relevant item has an ideal of 1."""
    return np.where(ranks > 0, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def reciprocal_rank(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """MRR@k of each target: 1 / rank."""
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


def coverage(lists: NDArray[np.int64]) -> int:
    """Distinct items in all lists."""
    return len(np.unique(lists[lists != EMPTY]))


def user_share(interactions: sparse.csr_matrix) -> NDArray[np.float64]:
    """Share of the training users who have each item, (n,), from a binary matrix (users, items).

    An item that nobody has counts as one person among one more than there are: 1 / (users + 1).
    """
    users = int((interactions.getnnz(axis=1) > 0).sum())
    holders = interactions.getnnz(axis=0)
    return np.where(holders > 0, holders / max(users, 1), 1.0 / (users + 1))


def novelty(lists: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of -log2(share) over the items of each list, in bits (T,); NaN where a list is empty.

    share: `user_share` (n,). The self-information of Zhou et al. 2010.
    """
    present = lists != EMPTY
    bits = np.where(present, -np.log2(share)[lists], 0.0)
    return _ratio(bits.sum(axis=1), present.sum(axis=1))


def diversity(lists: NDArray[np.int64], texts: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 - mean pairwise cosine of the text vectors in each list (T,); NaN where fewer than two items have a text.

    texts: unit rows (n, e), a zero row has no text. Intra-list distance of Ziegler et al. 2005.
    """
    return np.concatenate(
        [np.empty(0), *(_diversity(lists[i : i + _CHUNK], texts) for i in range(0, len(lists), _CHUNK))]
    )


def _diversity(lists: NDArray[np.int64], texts: NDArray[np.floating]) -> NDArray[np.float64]:
    vectors = np.where((lists != EMPTY)[..., None], texts[lists], 0.0)
    squares = np.square(vectors).sum(axis=2)
    count = (squares > 0).sum(axis=1)
    # the square of a sum holds every pair twice, and every vector with itself
    pairs = np.square(vectors.sum(axis=1)).sum(axis=1) - squares.sum(axis=1)
    return 1.0 - _ratio(pairs, count * (count - 1))


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
