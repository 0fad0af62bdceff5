"""Live trend: positive events per item of the last days, counted periodically in Postgres."""

from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from components.histories.signals import RECENT_SECONDS, pad_with_minimum, trend_scores
from components.settings import EventSettings
from components.store.history import count_positive_events


class LiveTrend:
    """The current trend scores of one bundle's items; those of the bundle until the first update. Thread-safe.

    Attributes:
        now: (1, items) float32, replaced on change, never modified in place.
    """

    def __init__(self, rows: Mapping[str, int], counts: NDArray[Any]) -> None:
        """
        Args:
            rows: Row of the bundle by item id.
            counts: (items,) positive events of the last days before the bundle's cut.
        """
        self._rows = rows
        self.now = trend_scores(counts[None])

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """(1, items) float32: the current scores, for every moment."""
        return self.now

    def extended(self, rows: Mapping[str, int], size: int) -> "LiveTrend":
        """A copy for a bundle with more rows; new rows count no events until the next update."""
        other = copy(self)
        other._rows, other.now = rows, pad_with_minimum(self.now, size)
        return other

    def update(self, positive_events: Mapping[str, int]) -> None:
        """Replaces the scores; keeps the same array if they are unchanged.

        Args:
            positive_events: Positive events of the last days by item id; unknown items are ignored.
        """
        counts = np.zeros(self.now.shape[1])
        for item, count in positive_events.items():
            if (row := self._rows.get(item)) is not None:
                counts[row] = count
        scores = trend_scores(counts[None])
        if not np.array_equal(scores, self.now):
            self.now = scores


def read_trend(connection: Connection, settings: EventSettings) -> dict[str, int]:
    """Positive events of the last days, by item id."""
    return count_positive_events(connection, datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS), settings)
