"""What an event says of an item: how strongly, for it or against it, how much it still counts; what many like now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from components.core.columns import Columns
from components.histories.states import SECONDS_A_DAY
from components.settings import EventSettings

if TYPE_CHECKING:  # the service, which starts sooner without it, asks for one signal at a time
    import pandas as pd


RATED = ("rating", "review")
MIN_RELATIVE_WEIGHT = 1e-8
"""Relative weight below which an event is lost in float32 rounding."""
RECENT_SECONDS = 7 * SECONDS_A_DAY


def signal(event: str, value: float | None, settings: EventSettings) -> float:
    """The signed weight of one event, as in `signals`."""
    signed = settings.weights[event] * settings.signs[event]
    disliked = event in RATED and value is not None and value < settings.dislike_below
    return -abs(signed) if disliked else signed


def signals(events: pd.DataFrame, settings: EventSettings) -> NDArray[np.float32]:
    """The signed weight of each event, float32 (n,): weight x sign, and negative for a rating or a review whose value
    lies under `settings.dislike_below`.

    Raises ValueError naming an event kind that the settings do not know.
    """
    kinds = events[Columns.EVENT].astype(object)
    signed = kinds.map({kind: weight * settings.signs[kind] for kind, weight in settings.weights.items()})
    if signed.isna().any():
        unknown = kinds[signed.isna()].iloc[0]
        raise ValueError(f"unknown event {unknown!r}: the events are {', '.join(settings.weights)}; map it at ingest")
    result = signed.to_numpy(dtype=np.float32)
    disliked = kinds.isin(RATED) & (events[Columns.VALUE] < settings.dislike_below)
    return np.where(disliked, -np.abs(result), result)


def effective_length(recency: float, history: int) -> int:
    """How many of the latest events of a history weigh anything."""
    return min(history, 1 + math.ceil(math.log(MIN_RELATIVE_WEIGHT) / math.log(recency)))


def recency_weights(signals: NDArray[np.float32], recency: float) -> NDArray[np.floating]:
    """signals (B, H), left-padded with 0, times recency^(events since): what an event weighs in a history."""
    return signals * np.float32(recency) ** np.arange(signals.shape[1] - 1, -1, -1, dtype=np.float32)


class Trend(Protocol):
    """Scores of all items by what is wanted lately."""

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Float32 (T, items), or (1, items) where all moments share one, of `moments` (T,) in epoch seconds."""
        ...


class FixedTrend:
    """One trend for all moments, such as that of a bundle, which ends with its training."""

    def __init__(self, counts: NDArray[np.number]) -> None:
        """counts: positive events of the last days, (items,)."""
        self._scores = trend_scores(counts[None])

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._scores


class PastTrend:
    """The trend as of any moment of a past that is known."""

    def __init__(self, items: NDArray[np.int64], times: NDArray[np.float64], n_items: int) -> None:
        """items: rows (E,) of positive events; times: their epoch seconds (E,), in any order."""
        order = np.argsort(times, kind="stable")
        self._items, self._times, self._n_items = items[order], times[order], n_items

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
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


def trend_scores(counts: NDArray[np.number]) -> NDArray[np.float32]:
    """Standardised log counts, float32 (T, items), of counts (T, items)."""
    return standardise(np.log1p(counts))


def standardise(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Float32 (T, n) of values (T, n): mean 0 and deviation 1 a row; zeros where all of a row are equal."""
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = values.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0).astype(np.float32)


def with_least(scores: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Scores (T, size) of scores (T, n): those that are missing are the least of their row."""
    least = scores.min(axis=1, keepdims=True)
    return np.hstack([scores, np.repeat(least, size - scores.shape[1], axis=1)])
