"""What is wanted lately, counted in Postgres every few seconds."""

from collections.abc import Mapping

import numpy as np

from components.ranking.trends import trend_scores


class LiveTrend:
    """The trend of now, of one bundle's items; that of the bundle until it is told. Any thread may ask and tell."""

    def __init__(self, rows: Mapping[str, int], counts: np.ndarray) -> None:
        """rows: of the bundle, by item; counts: positive events of the last days before its cut, (items,)."""
        self._rows = rows
        self._scores = trend_scores(counts[None])

    def scores(self, moments: np.ndarray) -> np.ndarray:
        """Float32 (1, items): all moments are now."""
        return self._scores

    def tell(self, wanted: Mapping[str, int]) -> None:
        """wanted: positive events of the last days, by item; items that the bundle lacks do not count."""
        counts = np.zeros(self._scores.shape[1])
        for item, count in wanted.items():
            if (row := self._rows.get(item)) is not None:
                counts[row] = count
        self._scores = trend_scores(counts[None])
