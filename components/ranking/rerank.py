"""The last step of ranking: which of the candidates make the list, and in which order."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def rerank(
    scores: np.ndarray,
    texts: np.ndarray,
    categories: Sequence[Sequence[str]],
    k: int,
    *,
    diversity: float = 0.0,
    category_cap: int = 0,
    tail: np.ndarray | None = None,
    tail_share: float = 0.0,
    above: Sequence[int] = (),
    pick: Callable[[np.ndarray], int] = np.argmax,
) -> list[int]:
    """Positions of at most k candidates, in the order to show them.

    Maximal marginal relevance (Carbonell and Goldstein 1998): each step takes the candidate with the largest
    (1 - diversity) · score - diversity · (largest cosine with a chosen one), scores scaled to 0..1. With
    `category_cap` > 0 no category has more items than that in the list. With `tail_share` > 0 at least that share of
    the first places, rounded down, goes to items of the `tail`, however long the list is read: the ranked group
    fairness of Zehlike et al. 2017 (FA*IR) without its test of chance. Both may make the list shorter than k.

    scores: float (c,), falling; texts: (c, e) unit rows, or zero; categories: those of each candidate; tail: bool (c,).
    above: the beginning of the list, where an earlier call with fewer candidates left it too short. pick: chooses the
    next position by these values, float (c,), -inf for who may not come next; the largest one by default.
    """
    relevance = (1.0 - diversity) * _scaled(scores)
    similarity = np.zeros(len(scores))
    free = np.ones(len(scores), dtype=bool)
    used: Counter[str] = Counter()
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        if len(chosen) < len(above):
            picked = above[len(chosen)]
        else:
            allowed = free
            if tail is not None and tail[chosen].sum() < math.floor(tail_share * (len(chosen) + 1)):
                allowed = free & tail
                if not allowed.any():
                    break
            picked = int(pick(np.where(allowed, relevance - diversity * similarity, -np.inf)))
        chosen.append(picked)
        free[picked] = False
        used.update(set(categories[picked]))
        if category_cap and (full := {name for name in categories[picked] if used[name] >= category_cap}):
            free &= [full.isdisjoint(names) for names in categories]
        if diversity:
            similarity = np.maximum(similarity, texts @ texts[picked])
    return chosen


def _scaled(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    if not len(scores):
        return scores
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / spread if spread > 0 else np.zeros_like(scores)
