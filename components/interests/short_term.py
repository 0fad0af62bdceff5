"""Short-term interest: the recent window, by days and by count, in its order."""

from dataclasses import dataclass

import numpy as np

from components.interests.history import Past


@dataclass(frozen=True)
class ShortTerm:
    """items: int64 rows of the window, newest first; weights: their summed signals (not positive: disliked);
    texts: what the person wrote in the window, newest first.
    """

    items: np.ndarray
    weights: np.ndarray
    texts: list[str]

    def liked(self) -> np.ndarray:
        """The items of the window whose weight is positive, newest first."""
        return self.items[self.weights > 0]


def short_term(past: Past, days: float, count: int, texts: int) -> ShortTerm:
    """The last `count` distinct items of the last `days` before the anchor; `texts` says how many texts are kept."""
    window = past.last_days(days)
    items, sums = window.newest_items(window.signals)
    return ShortTerm(items[:count], sums[:count], window.newest_texts(texts))
