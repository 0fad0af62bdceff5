"""Which items may be in an answer at all, as a mask over the rows of the bundle, and which of them come first."""

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

if TYPE_CHECKING:  # the service, which starts sooner without it, asks for one event at a time
    import pandas as pd


@dataclass(frozen=True)
class Exclusion:
    """kinds: events after which an item is not shown again. below: a rating or a review under this value is one of
    them, whatever its kind."""

    kinds: frozenset[str]
    below: float

    @classmethod
    def of(cls, ranking: RankingSettings, events: EventSettings) -> Exclusion:
        kinds = {*ranking.exclude_seen, *(["hide"] if ranking.exclude_hidden else [])}
        disliked = ranking.exclude_disliked
        return cls(frozenset(kinds | {"dislike"} if disliked else kinds), events.dislike_below if disliked else -np.inf)

    def holds(self, event: str, value: float | None) -> bool:
        """Whether an event keeps its item from the user."""
        return event in self.kinds or (event in RATED and value is not None and value < self.below)

    def mask(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """bool (n,): `holds` of each row of an events frame."""
        low = events[Columns.EVENT].isin(RATED) & (events[Columns.VALUE] < self.below)
        return (events[Columns.EVENT].isin(self.kinds) | low).to_numpy()

    def rows(self, events: pd.DataFrame, row: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
        """By user, int64 rows of what is not shown again; row: by item, those that are not in it are left out."""
        excluded_events = events.loc[
            self.mask(events) & events[Columns.ITEM].isin(row.keys()), [Columns.USER, Columns.ITEM]
        ]
        item_rows = excluded_events[Columns.ITEM].map(row).astype("int64")
        return {str(user): np.unique(rows) for user, rows in item_rows.groupby(excluded_events[Columns.USER])}


class CategoryIndex:
    """The rows of each category, as a bundle has them and as they became since. Any thread may ask; one at a time may
    tell."""

    def __init__(self, categories: pa.ChunkedArray) -> None:
        """categories: a list of names for each row of the bundle."""
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
        """The categories of the rows that have others than in the bundle, or had, or came after it."""
        return self._now

    def tell(self, row: int, names: Collection[str]) -> None:
        """An item has these categories from now on."""
        before, self._now[row] = self._now.get(row, frozenset()), frozenset(names)
        for name in before - self._now[row]:
            self._rows_now[name].discard(row)
        for name in self._now[row] - before:
            self._rows_now.setdefault(name, set()).add(row)

    def extended(self, later: Sequence[Collection[str]]) -> CategoryIndex:
        """This one with more rows, of these categories."""
        other = copy(self)
        other._now = dict(self._now)
        other._rows_now = {name: set(rows) for name, rows in self._rows_now.items()}
        other.size += len(later)
        for row, names in enumerate(later, start=self.size):
            other.tell(row, names)
        return other

    def mask(self, names: Collection[str]) -> NDArray[np.bool_]:
        """bool (items,): which items have at least one of the categories; an unknown category has no items."""
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
    """bool (items,): True where an item may be recommended.

    excluded: rows that must not be (seen, disliked, hidden, named by the caller); category_in: at least one of these,
    None for no such wish; category_out: none of these; among: bool (items,), what may be at all, None for everything.
    """
    mask = np.ones(index.size, dtype=bool) if among is None else among.copy()
    if category_in is not None:
        mask &= index.mask(category_in)
    if category_out:
        mask &= ~index.mask(category_out)
    mask[np.array(excluded if isinstance(excluded, np.ndarray) else list(excluded), dtype=np.int64)] = False
    return mask


def best_first(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """int64 positions of the `count` largest scores (n,), falling; equal ones in their order, so that it repeats."""
    costs = -scores
    if count < len(costs):
        worst = np.partition(costs, count - 1)[count - 1]
        candidates = np.flatnonzero(~(costs > worst))
    else:
        candidates = np.arange(len(costs))
    return candidates[np.argsort(costs[candidates], kind="stable")][:count]
