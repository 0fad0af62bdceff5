"""Filters: which items may be recommended, as masks over the rows of the bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.core.columns import Columns
from components.histories.signals import RATED
from components.settings import EventSettings, RankingSettings

if TYPE_CHECKING:  # not imported at run time: the service starts faster without pandas
    import pandas as pd


@dataclass(frozen=True)
class Exclusion:
    """Rule for which events exclude their item from later recommendations.

    Attributes:
        kinds: Event kinds that exclude the item.
        below: Ratings and reviews below this value exclude the item, too.
    """

    kinds: frozenset[str]
    below: float

    @classmethod
    def of(cls, ranking: RankingSettings, events: EventSettings) -> Exclusion:
        kinds = {*ranking.exclude_seen, *(["hide"] if ranking.exclude_hidden else [])}
        disliked = ranking.exclude_disliked
        return cls(frozenset(kinds | {"dislike"} if disliked else kinds), events.dislike_below if disliked else -np.inf)

    def excludes(self, event: str, value: float | None) -> bool:
        """Whether an event excludes its item."""
        return event in self.kinds or (event in RATED and value is not None and value < self.below)

    def mask(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """`excludes` for each row of an events frame (events,)."""
        low = events[Columns.EVENT].isin(RATED) & (events[Columns.VALUE] < self.below)
        return (events[Columns.EVENT].isin(self.kinds) | low).to_numpy()

    def rows(self, events: pd.DataFrame, row: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
        """Excluded item rows by user.

        Args:
            row: Row of the bundle by item id; other items are ignored.
        """
        excluded_events = events.loc[
            self.mask(events) & events[Columns.ITEM].isin(row.keys()), [Columns.USER, Columns.ITEM]
        ]
        item_rows = excluded_events[Columns.ITEM].map(row).astype("int64")
        return {str(user): np.unique(rows) for user, rows in item_rows.groupby(excluded_events[Columns.USER])}


class CategoryIndex:
    """Inverted index from categories to item rows, of a bundle and its later changes.

    Reads are thread-safe; only one thread at a time may write.
    """

    def __init__(self, categories: pa.ChunkedArray) -> None:
        """
        Args:
            categories: A list of names for each row of the bundle.
        """
        lists = categories.cast(pa.list_(pa.string())).combine_chunks()
        named = lists.flatten().dictionary_encode()
        codes = numbers(named.indices)
        self._codes: dict[str, int] = {name: code for code, name in enumerate(named.dictionary.to_pylist())}
        self._rows = numbers(lists.value_parent_indices()).astype(np.int32)[np.argsort(codes, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(self._codes)))])
        self.size = len(categories)
        self._now: dict[int, frozenset[str]] = {}
        self._rows_now: dict[str, set[int]] = {}

    @property
    def now(self) -> Mapping[int, Collection[str]]:
        """Current categories of the rows that were changed or added since the bundle."""
        return self._now

    def set_categories(self, row: int, names: Collection[str]) -> None:
        """Sets the categories of an item row."""
        before, self._now[row] = self._now.get(row, frozenset()), frozenset(names)
        for name in before - self._now[row]:
            self._rows_now[name].discard(row)
        for name in self._now[row] - before:
            self._rows_now.setdefault(name, set()).add(row)

    def extended(self, later: Sequence[Collection[str]]) -> CategoryIndex:
        """A copy with more rows, with these categories."""
        other = copy(self)
        other._now = dict(self._now)
        other._rows_now = {name: set(rows) for name, rows in self._rows_now.items()}
        other.size += len(later)
        for row, names in enumerate(later, start=self.size):
            other.set_categories(row, names)
        return other

    def mask(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Items with at least one of the categories (items,); unknown categories match none."""
        mask = np.zeros(self.size, dtype=bool)
        for name in names:
            if (code := self._codes.get(name)) is not None:
                mask[self._rows[self._starts[code] : self._starts[code + 1]]] = True
        mask[list(self._now)] = False
        for name in names:
            mask[list(self._rows_now.get(name, ()))] = True
        return mask


def eligible(
    index: CategoryIndex,
    excluded: Collection[int] | NDArray[np.int64],
    category_in: Collection[str] | None = None,
    category_out: Collection[str] = (),
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Mask of the items that may be recommended (items,).

    Args:
        excluded: Item rows to leave out: seen, disliked, hidden, or listed in the request.
        category_in: Items need at least one of these categories; None for no restriction.
        category_out: Items must have none of these categories.
        among: Items that may be recommended at all (items,); None for all.
    """
    mask = np.ones(index.size, dtype=bool) if among is None else among.copy()
    if category_in is not None:
        mask &= index.mask(category_in)
    if category_out:
        mask &= ~index.mask(category_out)
    mask[np.array(excluded if isinstance(excluded, np.ndarray) else list(excluded), dtype=np.int64)] = False
    return mask


def best_first(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Positions of the `count` largest scores (n,), descending; ties by position, so the result is deterministic."""
    costs = -scores
    if count < len(costs):
        worst = np.partition(costs, count - 1)[count - 1]
        candidates = np.flatnonzero(~(costs > worst))
    else:
        candidates = np.arange(len(costs))
    return candidates[np.argsort(costs[candidates], kind="stable")][:count]
