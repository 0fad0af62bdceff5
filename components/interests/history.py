"""A user's events strictly before an anchor, and the two interests computed from them.

The long-term interest covers the whole history with exponential decay by age. The short-term interest covers a recent
window, limited by days and by number of items, in order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.columns import Columns
from components.histories.signals import RATED, signals
from components.interests.profile import strongest
from components.settings import EventSettings

MAX_STARS = 5.0
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class PastEvents:
    """A user's events before one anchor, oldest first; simultaneous events are ordered by item id.

    Attributes:
        items: Rows of the items frame (events,).
        ages: Days before the anchor (events,).
        signals: Signed event weights (events,).
        stars: A rating's value divided by five stars, 1 for every other event (events,).
        texts: The user's own text as str, "" for none (events,).
    """

    items: NDArray[np.int64]
    ages: NDArray[np.float64]
    signals: NDArray[np.float32]
    stars: NDArray[np.float32]
    texts: NDArray[Any]

    def last_days(self, days: float) -> "PastEvents":
        """The events that are at most `days` old."""
        begin = int(np.searchsorted(-self.ages, -days, side="left"))
        return PastEvents(
            self.items[begin:], self.ages[begin:], self.signals[begin:], self.stars[begin:], self.texts[begin:]
        )

    def newest_items(self, weights: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The distinct items, most recent first, and the sum of their events' weights (float64)."""
        items, first, inverse = np.unique(self.items[::-1], return_index=True, return_inverse=True)
        sums: NDArray[Any] = np.bincount(inverse, weights=weights[::-1], minlength=len(items))
        order = np.argsort(first)
        return items[order], sums[order]

    def newest_texts(self, count: int) -> list[str]:
        """The user's last `count` texts, newest first."""
        return [str(text) for text in self.texts[self.texts != ""][::-1][:count]]


class Histories:
    """All events by user and time; indexing by anchor gives the events before it."""

    def __init__(
        self, events: pd.DataFrame, item_ids: pd.Index, anchors: pd.DataFrame, settings: EventSettings
    ) -> None:
        """
        Raises:
            ValueError: An event's item is not in `item_ids`.
        """
        order = [Columns.USER, Columns.OCCURRED_AT, Columns.ITEM, Columns.EVENT, Columns.VALUE, Columns.TEXT]
        events = events.sort_values(order, ignore_index=True)
        self._items = item_ids.get_indexer(pd.Index(events[Columns.ITEM]))
        if (self._items < 0).any():
            missing = events[Columns.ITEM][self._items < 0]
            raise ValueError(
                f"{len(missing)} events name unknown items such as {missing.iloc[0]!r}: validate the snapshot first"
            )
        self._times = _microseconds(events[Columns.OCCURRED_AT])
        self._signals = signals(events, settings)
        value = events[Columns.VALUE].to_numpy(dtype=np.float32)
        rated = events[Columns.EVENT].isin(RATED).to_numpy() & ~np.isnan(value)
        self._stars = np.where(rated, value / MAX_STARS, np.float32(1.0))
        self._texts = events[Columns.TEXT].astype(object).fillna("").to_numpy(dtype=object)
        sizes = events.groupby(Columns.USER, sort=True).size()
        stops = pd.Series(sizes.cumsum().to_numpy(), index=sizes.index)
        users = anchors[Columns.USER]
        self._stops = users.map(stops).fillna(0).to_numpy(dtype=np.int64)
        self._starts = self._stops - users.map(sizes).fillna(0).to_numpy(dtype=np.int64)
        self._as_of = _microseconds(anchors[Columns.AS_OF])

    def __len__(self) -> int:
        """The number of anchors."""
        return len(self._as_of)

    def __getitem__(self, anchor: int) -> PastEvents:
        """The events before the anchor in this row."""
        start, as_of = self._starts[anchor], self._as_of[anchor]
        stop = start + np.searchsorted(self._times[start : self._stops[anchor]], as_of, side="left")
        seen = slice(start, stop)
        ages = (as_of - self._times[seen]) / 1e6 / SECONDS_PER_DAY
        return PastEvents(self._items[seen], ages, self._signals[seen], self._stars[seen], self._texts[seen])


def _microseconds(times: pd.Series) -> NDArray[np.int64]:
    return times.dt.as_unit("us").astype("int64").to_numpy()


@dataclass(frozen=True)
class LongTerm:
    """The long-term interest at one anchor.

    Attributes:
        items: Distinct item rows of the history, newest first (items,).
        weights: Sums of their decayed signals (items,); zero or less means disliked.
        favourites: Rows of the best liked items, best first.
        texts: The user's last texts, newest first.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float64]
    favourites: NDArray[np.int64]
    texts: list[str]

    def liked(self, limit: int) -> NDArray[np.int64]:
        """The newest `limit` items with a positive weight."""
        return self.items[self.weights > 0][:limit]


def decay(ages: NDArray[np.float64], half_life_days: float) -> NDArray[np.float64]:
    """Exponential decay 2^(-age / half-life), both in days."""
    return np.exp2(-ages / half_life_days)


def long_term(past: PastEvents, half_life_days: float, favourites: int, texts: int) -> LongTerm:
    """The long-term interest at one anchor.

    Ages are relative to the newest event, not to the anchor. This scales all weights by one factor, so the order is
    the same, and the interest of an inactive user does not change.

    Args:
        favourites: Number of favourites to keep.
        texts: Number of texts to keep.
    """
    weights = past.signals * decay(past.ages - past.ages.min(initial=np.inf), half_life_days)
    items, sums = past.newest_items(weights)
    _, liking = past.newest_items(weights * past.stars)
    best = strongest(np.where(sums > 0, liking, 0.0), favourites)
    return LongTerm(items, sums, items[best], past.newest_texts(texts))


@dataclass(frozen=True)
class ShortTerm:
    """The short-term interest at one anchor.

    Attributes:
        items: Distinct item rows of the window, newest first (items,).
        weights: Sums of their signals (items,); zero or less means disliked.
        texts: The user's texts in the window, newest first.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float64]
    texts: list[str]

    def liked(self) -> NDArray[np.int64]:
        """The items with a positive weight, newest first."""
        return self.items[self.weights > 0]


def short_term(past: PastEvents, days: float, count: int, texts: int) -> ShortTerm:
    """The last `count` distinct items within `days` before the anchor, with the last `texts` texts."""
    window = past.last_days(days)
    items, sums = window.newest_items(window.signals)
    return ShortTerm(items[:count], sums[:count], window.newest_texts(texts))
