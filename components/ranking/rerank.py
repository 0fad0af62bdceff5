"""Re-ranking of candidates: diversity, category cap, tail share, exploration."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HEAD_SHARE = 0.2
"""Share of the items that form the head, the items with most events."""


def in_tail(popularity: NDArray[np.number]) -> NDArray[np.bool_]:
    """Whether each item is in the tail, i.e. not in the most popular fifth (items,); ties go to the lower row."""
    order = np.argsort(-popularity, kind="stable")
    tail = np.ones(len(popularity), dtype=bool)
    tail[order[: int(np.ceil(HEAD_SHARE * len(popularity)))]] = False
    return tail


class Placement(NamedTuple):
    """How an item was selected for its position, given the positions above.

    Attributes:
        propensity: Probability of the item at this position, in (0, 1].
        greedy: Whether it would be there without exploration.
    """

    propensity: float
    greedy: bool


CERTAIN = Placement(1.0, greedy=True)


class Exploration:
    """Epsilon-greedy exploration (Watkins 1989) at each position of one list.

    With probability `share` the item is drawn uniformly from all allowed candidates, else it is the best one. Of n
    candidates the best has the propensity 1 - share + share / n, each other share / n. The random generator is seeded
    with the request_id, so the same candidates give the same list.
    """

    def __init__(self, share: float, request_id: str) -> None:
        """
        Args:
            share: Probability of exploration, from 0 to 1.
            request_id: 32 hexadecimal digits.
        """
        self._share = share
        self._random = np.random.default_rng(int(request_id, 16))
        self.places: list[Placement] = []
        """Of the items picked so far, in order."""

    def pick(self, values: NDArray[np.float64]) -> int:
        """Picks a candidate by its value (candidates,), -inf for those not allowed at this position."""
        best = int(np.argmax(values))
        candidates = np.flatnonzero(values > -np.inf)
        chosen = best
        if self._random.random() < self._share:
            chosen = int(self._random.choice(candidates))
        drawn = self._share / len(candidates)
        self.places.append(Placement(drawn + (1.0 - self._share if chosen == best else 0.0), chosen == best))
        return chosen


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
    """Selects and orders at most k candidates.

    Maximal marginal relevance (Carbonell and Goldstein 1998): each step takes the candidate with the largest
    (1 - diversity) · score - diversity · (largest cosine with a chosen one), with scores scaled to 0..1.

    Args:
        scores: Descending (candidates,).
        texts: Unit text vectors, or zero rows (candidates, encoder dims).
        categories: Of each candidate.
        k: Maximum length of the list.
        diversity: Weight of the similarity, from 0 to 1.
        category_cap: Maximum items per category; 0 is unlimited.
        tail: Whether a candidate is a tail item (candidates,).
        tail_share: Minimum share of tail items in every prefix of the list, rounded down: the ranked group fairness of
            Zehlike et al. 2017 (FA*IR) without its significance test.
        above: The start of the list, from an earlier call whose candidates were too few.
        pick: Picks the next candidate from the values, -inf for those not allowed; by default the largest.

    Returns:
        Positions of the chosen candidates, in display order. Cap and tail share may leave fewer than k.
    """
    relevance = (1.0 - diversity) * _scaled(scores)
    similarity = np.zeros(len(scores))
    free = np.ones(len(scores), dtype=bool)
    used: Counter[str] = Counter()
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        if len(chosen) < len(above):
            position = above[len(chosen)]
        else:
            allowed = free
            if tail is not None and tail[chosen].sum() < math.floor(tail_share * (len(chosen) + 1)):
                allowed = free & tail
                if not allowed.any():
                    break
            position = int(pick(np.where(allowed, relevance - diversity * similarity, -np.inf)))
        chosen.append(position)
        free[position] = False
        used.update(set(categories[position]))
        if category_cap and (full := {name for name in categories[position] if used[name] >= category_cap}):
            free &= [full.isdisjoint(names) for names in categories]
        if diversity:
            similarity = np.maximum(similarity, texts @ texts[position])
    return chosen


def _scaled(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    scores = scores.astype(np.float64)
    if not len(scores):
        return scores
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / spread if spread > 0 else np.zeros_like(scores)
