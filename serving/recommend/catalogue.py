"""The current catalogue in memory: the bundle's copy, and the differences of Postgres from it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, distinct, func, or_, select

from components.arrays.arrow import numbers
from components.histories.signals import RATED
from components.ranking.filters import CategoryIndex, Exclusion
from components.store.schema import Event, Item, User

CACHED_ITEMS = 20_000
"""Size of the LRU cache of titles and categories read from the bundle."""


@dataclass(frozen=True)
class ListedItem:
    """An item as it is shown in a list."""

    title: str
    category: list[str]
    available: bool


def read_items(connection: Connection, item_ids: Collection[str]) -> dict[str, ListedItem]:
    """The items by id; items that are not in the catalogue are absent."""
    columns = select(Item.item_id, Item.title, Item.category, Item.available)
    rows = connection.execute(columns.where(Item.item_id == func.any(list(item_ids))))
    return {row.item_id: ListedItem(row.title, list(row.category), row.available) for row in rows}


def stream_items(connection: Connection) -> Iterator[tuple[str, ListedItem]]:
    """Streams all items with their ids, ten thousand rows at a time."""
    columns = select(Item.item_id, Item.title, Item.category, Item.available)
    for part in connection.execute(columns, execution_options={"yield_per": 10_000}).partitions():
        for item_id, title, category, available in part:
            yield item_id, ListedItem(title, category, available)


def read_excluded(connection: Connection, user_id: str, exclusion: Exclusion) -> set[str]:
    """Ids of the items that are not shown to the user again, by their events."""
    low = and_(Event.event.in_(RATED), Event.value < exclusion.below)
    interacted = select(distinct(Event.item_id)).where(Event.user_id == user_id)
    return set(connection.scalars(interacted.where(or_(Event.event.in_(exclusion.kinds), low))))


def search_items(connection: Connection, query: str, limit: int) -> Sequence[dict[str, object]]:
    """Items whose title contains `query`, case-insensitive, ordered by title."""
    columns = (Item.item_id, Item.title, Item.category, Item.available, Item.creator_id, Item.attributes)
    matches = (
        select(*columns)
        .where(Item.title.icontains(query, autoescape=True))
        .order_by(Item.title, Item.item_id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(matches).mappings()]


def active_users(connection: Connection, limit: int) -> Sequence[dict[str, object]]:
    """Users with consent and their number of events, the most active first."""
    events = func.count().label("events")
    counted = select(Event.user_id, events).join(User, User.user_id == Event.user_id).where(User.consent)
    ordered = counted.group_by(Event.user_id).order_by(events.desc(), Event.user_id).limit(limit)
    return [dict(row) for row in connection.execute(ordered).mappings()]


class LiveCatalogue:
    """The current catalogue by bundle row: the bundle's items and the new items since.

    Any thread may read; only one at a time may refresh.

    Attributes:
        available: (items,) bool, items in stock.
        exists: (items,) bool, items that the catalogue still contains.
        categories: Index of the items by category.
        version: Increases with every change.
    """

    def __init__(self, items: pa.Table, rows: Mapping[str, int]) -> None:
        """
        Args:
            items: Item table of the bundle.
            rows: Row of the bundle by item id.
        """
        self._titles = items["title"].combine_chunks()
        self._categories = items["category"].combine_chunks()
        self._rows = rows
        self._changed: dict[int, ListedItem] = {}
        self._as_trained = lru_cache(CACHED_ITEMS)(self._trained_item)
        self.categories = CategoryIndex(items["category"])
        self.available = numbers(items["available"])
        self.exists = np.ones(items.num_rows, dtype=bool)
        self.version = 0
        self._masks: dict[bool, tuple[int, NDArray[np.bool_]]] = {}

    def __getitem__(self, row: int) -> ListedItem:
        """The item of a row as it is shown."""
        return self._changed.get(row) or self._as_listed(row)

    def extended(self, rows: Mapping[str, int], listed: Sequence[ListedItem]) -> "LiveCatalogue":
        """A copy with the rows of `listed` appended.

        Args:
            rows: Row by item id, of the extended bundle.
            listed: The items of the new rows.
        """
        other, size = copy(self), len(self.exists)
        other._rows = rows
        other._changed = self._changed | dict(enumerate(listed, start=size))
        other.categories = self.categories.extended([item.category for item in listed])
        other.available = np.append(self.available, np.array([item.available for item in listed], dtype=bool))
        other.exists = np.append(self.exists, np.ones(len(listed), dtype=bool))
        other._masks = {}
        return other

    def visible(self, *, available_only: bool) -> NDArray[np.bool_]:
        """Mask (items,) of the items that may be shown; cached, so not to be written to."""
        version, mask = self._masks.get(available_only, (-1, self.exists))
        if version != self.version:
            version = self.version  # read first, so that a concurrent change invalidates this mask
            mask = self.exists & self.available if available_only else self.exists.copy()
            self._masks[available_only] = version, mask
        return mask

    def refresh(self, connection: Connection) -> set[str]:
        """Reads the whole catalogue. Returns the ids of items that the bundle lacks."""
        exists, new_ids = np.zeros_like(self.exists), set()
        for item_id, listed in stream_items(connection):
            row = self._rows.get(item_id)
            if row is not None:
                exists[row] = True
                self._update(row, listed)
            if self._is_new(row):
                new_ids.add(item_id)
        self.exists = exists
        self.version += 1
        return new_ids

    def refresh_items(self, connection: Connection, item_ids: Collection[str]) -> set[str]:
        """Reads the given items. Returns the ids of those that the bundle lacks."""
        listed, new_ids = read_items(connection, item_ids), set()
        for item_id in item_ids:
            row = self._rows.get(item_id)
            if row is not None:
                self.exists[row] = item_id in listed
                if item_id in listed:
                    self._update(row, listed[item_id])
            if item_id in listed and self._is_new(row):
                new_ids.add(item_id)
        self.version += 1
        return new_ids

    def _is_new(self, row: int | None) -> bool:
        return row is None or row >= len(self._titles)

    def _update(self, row: int, listed: ListedItem) -> None:
        self.available[row] = listed.available
        previous = self._changed.get(row)
        as_trained = not self._is_new(row) and (listed.title, listed.category) == self._as_trained(row)
        if as_trained and previous is None:
            return
        if listed.category != (previous or self._as_listed(row)).category:
            self.categories.set_categories(row, listed.category)
        if as_trained:
            self._changed.pop(row, None)
        else:
            self._changed[row] = listed

    def _as_listed(self, row: int) -> ListedItem:
        title, category = self._as_trained(row)
        return ListedItem(title, category, bool(self.available[row]))

    def _trained_item(self, row: int) -> tuple[str, list[str]]:
        return self._titles[row].as_py(), self._categories[row].as_py()
