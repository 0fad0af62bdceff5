"""Long-term interest: the whole history, an event counting the less the older it is."""

from dataclasses import dataclass

import numpy as np

from components.interests.history import Past
from components.interests.profile import strongest


@dataclass(frozen=True)
class LongTerm:
    """items: int64 rows of the history, newest first; weights: their decayed signals (not positive: disliked);
    favourites: rows of the items liked most, best first; texts: what the person wrote last.
    """

    items: np.ndarray
    weights: np.ndarray
    favourites: np.ndarray
    texts: list[str]

    def liked(self, limit: int) -> np.ndarray:
        """The newest `limit` items whose weight is positive."""
        return self.items[self.weights > 0][:limit]


def decay(ages: np.ndarray, half_life_days: float) -> np.ndarray:
    """Exponential decay: 2^(-age / half life), ages in days."""
    return np.exp2(-ages / half_life_days)


def long_term(past: Past, half_life_days: float, favourites: int, texts: int) -> LongTerm:
    """The long-term interest of one anchor; `favourites` and `texts` say how many of each are kept.

    Ages are counted from the newest event instead of from the anchor. That is one constant factor, so it changes no
    order, and a person who stays away keeps exactly the same interest.
    """
    weights = past.signals * decay(past.ages - past.ages.min(initial=np.inf), half_life_days)
    items, sums = past.newest_items(weights)
    _, liking = past.newest_items(weights * past.stars)
    best = strongest(np.where(sums > 0, liking, 0.0), favourites)
    return LongTerm(items, sums, items[best], past.newest_texts(texts))
