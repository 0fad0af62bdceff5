"""Popularity, as of any moment: how many people have an item, over all time or over the last days."""

from typing import Self

import numpy as np

from components.histories.trends import RECENT_SECONDS


class Popularity:
    """Counts the people with an event of an item before a moment; with a period, within that many seconds before it.

    A person counts once an item. An item that nobody has is not ranked: its score is -inf.
    """

    name = "popularity"
    period = np.inf

    def fit(self, users: np.ndarray, items: np.ndarray, times: np.ndarray, n_items: int) -> Self:
        """users: any codes or ids (E,); items: item rows from 0 (E,); times: epoch seconds (E,)."""
        _, codes = np.unique(users, return_inverse=True)
        pairs = codes.astype(np.int64) * n_items + items
        order = np.lexsort((times, pairs))
        pairs, begins = pairs[order], times[order]
        same_pair = np.append(pairs[1:] == pairs[:-1], False)
        # an event speaks for its pair until the pair's next event, or until the period is over
        replaced = np.where(same_pair, np.append(begins[1:], np.inf), np.inf)
        self._items, self._begins, self._ends = items[order], begins, np.minimum(replaced, begins + self.period)
        self._latest = ~same_pair
        self._n_items = n_items
        return self

    def scores(self, moments: np.ndarray) -> np.ndarray:
        """Counts float32 (B, n) as of each of `moments` (B,) in epoch seconds.

        An event at t counts when moment - period <= t < moment.
        """
        order = np.argsort(moments, kind="stable")
        counts = self._changes(self._begins, moments[order]) - self._changes(self._ends, moments[order])
        np.cumsum(counts, axis=0, out=counts)
        in_order = np.empty_like(counts)
        in_order[order] = counts
        return _scored(in_order)

    def final_scores(self) -> np.ndarray:
        """Counts (n,) over all events, the period counted back from the last event, both ends included."""
        since = self._begins.max() - self.period
        counted = self._items[self._latest & (self._begins >= since)]
        return _scored(np.bincount(counted, minlength=self._n_items))

    def _changes(self, at: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """(B, n): changes that the b-th of the sorted moments is the first to see, being after them."""
        first = np.searchsorted(moments, at, side="right")
        seen = first < len(moments)
        cells = first[seen] * self._n_items + self._items[seen]
        return np.bincount(cells, minlength=len(moments) * self._n_items).reshape(len(moments), self._n_items)


class RecentPopularity(Popularity):
    """Popularity of the last seven days before the moment."""

    name = "recent popularity"
    period = RECENT_SECONDS


def _scored(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, counts, -np.inf).astype(np.float32)
