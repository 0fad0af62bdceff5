"""What is wanted lately, counted in Postgres every few seconds."""

from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Connection

from components.histories.signals import RECENT_SECONDS, trend_scores, with_least
from components.settings import EventSettings
from components.store.history import count_wanted


class LiveTrend:
    """The trend of now, of one bundle's items; that of the bundle until it is told. Any thread may ask and tell.

    now: float32 (1, items), never changed in place.
    """

    def __init__(self, rows: Mapping[str, int], counts: np.ndarray) -> None:
        """rows: of the bundle, by item; counts: positive events of the last days before its cut, (items,)."""
        self._rows = rows
        self.now = trend_scores(counts[None])

    def scores(self, moments: np.ndarray) -> np.ndarray:
        """Float32 (1, items): all moments are now."""
        return self.now

    def extended(self, rows: Mapping[str, int], size: int) -> "LiveTrend":
        """This one for a bundle with more rows, which nobody has wanted lately until it is told."""
        other = copy(self)
        other._rows, other.now = rows, with_least(self.now, size)
        return other

    def update(self, positive_events: Mapping[str, int]) -> None:
        """wanted: positive events of the last days, by item; items that the bundle lacks do not count. A trend that is
        as before stays the same array."""
        counts = np.zeros(self.now.shape[1])
        for item, count in positive_events.items():
            if (row := self._rows.get(item)) is not None:
                counts[row] = count
        scores = trend_scores(counts[None])
        if not np.array_equal(scores, self.now):
            self.now = scores


def read_trend(connection: Connection, settings: EventSettings) -> dict[str, int]:
    """Positive events of the last days, by item."""
    return count_wanted(connection, datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS), settings)
