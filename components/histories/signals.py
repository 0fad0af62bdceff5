"""Signed weights of events, their decay by recency, and trends: the items with many recent positive events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from components.core.columns import Columns
from components.histories.states import SECONDS_A_DAY
from components.settings import EventSettings

if TYPE_CHECKING:  # not imported at run time: the service starts faster without pandas
    import pandas as pd


RATED = ("rating", "review")
MIN_RELATIVE_WEIGHT = 1e-8
"""Relative weight below which an event is lost in float32 rounding."""
RECENT_SECONDS = 7 * SECONDS_A_DAY
"""Window of a trend."""


def signal(event: str, value: float | None, settings: EventSettings) -> float:
    """The signed weight of one event; see `signals`."""
    signed = settings.weights[event] * settings.signs[event]
    disliked = event in RATED and value is not None and value < settings.dislike_below
    return -abs(signed) if disliked else signed


def signals(events: pd.DataFrame, settings: EventSettings) -> NDArray[np.float32]:
    """The signed weight of each event (events,): weight times sign of its kind.

    A rating or review whose value is below `settings.dislike_below` counts as negative.

    Raises:
        ValueError: An event kind is missing from the settings.
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
    """Number of latest events whose recency weight is above float32 rounding."""
    return min(history, 1 + math.ceil(math.log(MIN_RELATIVE_WEIGHT) / math.log(recency)))


def recency_weights(signals: NDArray[np.float32], recency: float) -> NDArray[np.floating]:
    """Signals (batch, history), left-padded with 0, times recency^(number of later events)."""
    return signals * np.float32(recency) ** np.arange(signals.shape[1] - 1, -1, -1, dtype=np.float32)


class Trend(Protocol):
    """Scores of all items by their recent positive events."""

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scores (moments, items) at times in epoch seconds, or (1, items) where they are the same at all times."""
        ...


class FixedTrend:
    """A constant trend, such as that of a bundle at its training cut."""

    def __init__(self, counts: NDArray[np.number]) -> None:
        """
        Args:
            counts: Positive events per item in the recent window (items,).
        """
        self._scores = trend_scores(counts[None])

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._scores


class PastTrend:
    """The trend at any time of a recorded past."""

    def __init__(self, items: NDArray[np.int64], times: NDArray[np.float64], n_items: int) -> None:
        """
        Args:
            items: Item rows of positive events (events,).
            times: Their epoch seconds (events,), in any order.
            n_items: Size of the catalogue.
        """
        order = np.argsort(times, kind="stable")
        self._items, self._times, self._n_items = items[order], times[order], n_items

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Counts the events at t with moment - 7 days <= t < moment, standardised."""
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
    """Standardised log(1 + counts) per row, (moments, items)."""
    return standardise(np.log1p(counts))


def standardise(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Z-scores of each row of values (rows, n); zeros where the row is constant."""
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = values.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0).astype(np.float32)


def pad_with_minimum(scores: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Pads scores (rows, n) to (rows, size) with the minimum of each row."""
    least = scores.min(axis=1, keepdims=True)
    return np.hstack([scores, np.repeat(least, size - scores.shape[1], axis=1)])
