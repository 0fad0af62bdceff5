"""The catalogue as it is now, in memory: the bundle's own copy, and where Postgres differs from it."""

from collections.abc import Collection, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from serving.catalogue import ListedItem, read_items, stream_items

REMEMBERED = 20_000
"""Items whose title and categories are at hand; those that are shown often stay so."""


class Listing:
    """Of one bundle. Any thread may ask; one at a time may tell.

    available, there: bool (items,): what can be had, and what the catalogue has at all. version: another one after
    each change.
    """

    def __init__(self, items: pa.Table, rows: Mapping[str, int]) -> None:
        """items: of the bundle; rows: of it, by item."""
        self._titles = items["title"].combine_chunks()
        self._categories = items["category"].combine_chunks()
        self._rows = rows
        self._changed: dict[int, ListedItem] = {}
        self._as_trained = lru_cache(REMEMBERED)(self._read)
        self.available = items["available"].to_numpy().copy()
        self.there = np.ones(items.num_rows, dtype=bool)
        self.version = 0

    def __getitem__(self, row: int) -> ListedItem:
        """How an item is shown."""
        return self._changed.get(row) or self._known(row)

    def refresh(self, connection: Connection) -> None:
        """Reads the whole catalogue."""
        there = np.zeros_like(self.there)
        for item_id, listed in stream_items(connection):
            if (row := self._rows.get(item_id)) is not None:
                there[row] = True
                self._keep(row, listed)
        self.there = there
        self.version += 1

    def reread(self, connection: Connection, item_ids: Collection[str]) -> None:
        """Reads some items again."""
        found = read_items(connection, item_ids)
        for item_id in item_ids:
            if (row := self._rows.get(item_id)) is not None:
                self.there[row] = item_id in found
                if item_id in found:
                    self._keep(row, found[item_id])
        self.version += 1

    def _keep(self, row: int, listed: ListedItem) -> None:
        self.available[row] = listed.available
        if (listed.title, listed.category) == self._as_trained(row):
            self._changed.pop(row, None)
        else:
            self._changed[row] = listed

    def _known(self, row: int) -> ListedItem:
        title, category = self._as_trained(row)
        return ListedItem(title, category, bool(self.available[row]))

    def _read(self, row: int) -> tuple[str, list[str]]:
        return self._titles[row].as_py(), self._categories[row].as_py()
