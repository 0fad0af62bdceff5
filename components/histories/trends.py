"""What is wanted lately: counts of positive events in the last days before a moment, as a score."""

from typing import Protocol

import numpy as np

from components.histories.states import SECONDS_A_DAY

RECENT_SECONDS = 7 * SECONDS_A_DAY


class Trend(Protocol):
    """Scores of all items by what is wanted lately."""

    def scores(self, moments: np.ndarray) -> np.ndarray:
        """Float32 (T, items), or (1, items) where all moments share one, of `moments` (T,) in epoch seconds."""
        ...


class FixedTrend:
    """One trend for all moments, such as that of a bundle, which ends with its training."""

    def __init__(self, counts: np.ndarray) -> None:
        """counts: positive events of the last days, (items,)."""
        self._scores = trend_scores(counts[None])

    def scores(self, moments: np.ndarray) -> np.ndarray:
        return self._scores


class PastTrend:
    """The trend as of any moment of a past that is known."""

    def __init__(self, items: np.ndarray, times: np.ndarray, n_items: int) -> None:
        """items: rows (E,) of positive events; times: their epoch seconds (E,), in any order."""
        order = np.argsort(times, kind="stable")
        self._items, self._times, self._n_items = items[order], times[order], n_items

    def scores(self, moments: np.ndarray) -> np.ndarray:
        """An event at t counts when moment - 7 days <= t < moment."""
        counts = np.zeros((len(moments), self._n_items), dtype=np.float32)
        running = np.zeros(self._n_items, dtype=np.int64)
        first = last = 0
        for row in np.argsort(moments, kind="stable"):
            start, end = np.searchsorted(self._times, [moments[row] - RECENT_SECONDS, moments[row]])
            np.add.at(running, self._items[last:end], 1)
            np.subtract.at(running, self._items[first:start], 1)
            first, last = start, end
            counts[row] = running
        return trend_scores(counts)


def trend_scores(counts: np.ndarray) -> np.ndarray:
    """Standardised log counts, float32 (T, items), of counts (T, items)."""
    return standardise(np.log1p(counts))


def standardise(values: np.ndarray) -> np.ndarray:
    """Float32 (T, n) of values (T, n): mean 0 and deviation 1 a row; zeros where all of a row are equal."""
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = values.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0).astype(np.float32)


def with_least(scores: np.ndarray, size: int) -> np.ndarray:
    """Scores (T, size) of scores (T, n): those that are missing are the least of their row."""
    least = scores.min(axis=1, keepdims=True)
    return np.hstack([scores, np.repeat(least, size - scores.shape[1], axis=1)])
