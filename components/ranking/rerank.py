"""The last step of ranking: which of the candidates make the list, and in which order."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HEAD_SHARE = 0.2
"""Share of the items that are the head, by how many events they have."""


def in_tail(popularity: NDArray[np.number]) -> NDArray[np.bool_]:
    """Bool (n,): outside the fifth of the items with most events, (n,); ties go to the lower row."""
    order = np.argsort(-popularity, kind="stable")
    tail = np.ones(len(popularity), dtype=bool)
    tail[order[: int(np.ceil(HEAD_SHARE * len(popularity)))]] = False
    return tail


class Placed(NamedTuple):
    """How an item came to its place, given what stands above it.

    propensity: how likely it was to stand there, in (0, 1]. greedy: whether without exploration it stands there.
    """

    propensity: float
    greedy: bool


CERTAIN = Placed(1.0, greedy=True)


class Exploration:
    """Epsilon-greedy (Watkins 1989) at each place of one list: with probability `share` the item is drawn uniformly
    from all candidates that may stand there, else it is the best of them.

    Of n candidates the best one has the propensity 1 - share + share / n, each other one share / n. The draws are those
    of the answer's request_id, 32 hexadecimal digits: from the same candidates it has the same list again.
    """

    def __init__(self, share: float, request_id: str) -> None:
        self._share = share
        self._random = np.random.default_rng(int(request_id, 16))
        self.places: list[Placed] = []
        """Of the items picked so far, in their order."""

    def pick(self, values: NDArray[np.float64]) -> int:
        """A position of `values` float (c,), -inf for those that may not stand at this place."""
        best = int(np.argmax(values))
        candidates = np.flatnonzero(values > -np.inf)
        picked = best
        if self._random.random() < self._share:
            picked = int(self._random.choice(candidates))
        drawn = self._share / len(candidates)
        self.places.append(Placed(drawn + (1.0 - self._share if picked == best else 0.0), picked == best))
        return picked


def rerank(
    scores: NDArray[np.floating],
    texts: NDArray[np.floating],
    categories: Sequence[Sequence[str]],
    k: int,
    *,
    diversity: float = 0.0,
    category_cap: int = 0,
    tail: NDArray[np.bool_] | None = None,
    tail_share: float = 0.0,
    above: Sequence[int] = (),
    pick: Callable[[NDArray[np.float64]], int] = np.argmax,
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


def _scaled(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    scores = scores.astype(np.float64)
    if not len(scores):
        return scores
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / spread if spread > 0 else np.zeros_like(scores)
