"""Items of the catalogue that a bundle lacks: they join it with the vector of their text, which an encoder of its own
process makes when it is asked in Postgres."""

import time
from collections.abc import Collection

from sqlalchemy import Connection

from components.store.item_vectors import VectorOfItem, read_item_vectors, vector_hashes, want_vectors

MAX_ITEMS = 20_000
"""Items that a bundle takes in. A catalogue that grows by more wants a retraining."""
BATCH_SIZE = 1_000
"""Vectors that are read at once."""


class NewItems:
    """Of one bundle. One thread at a time."""

    def __init__(self, encoder: str, warn_after_seconds: float) -> None:
        """encoder: the key of the one that the bundle was trained with. patience_seconds: after so long an item that
        waits is told of."""
        self._encoder = encoder
        self._warn_after_seconds = warn_after_seconds
        self._joined: dict[str, VectorOfItem] = {}
        self._waiting: dict[str, float] = {}
        self._over_limit: set[str] = set()

    @property
    def joined(self) -> list[VectorOfItem]:
        """Those that have a vector, in the order in which they came."""
        return list(self._joined.values())

    @property
    def waiting(self) -> int:
        """How many have none."""
        return len(self._waiting) + len(self._over_limit)

    @property
    def notes(self) -> list[str]:
        """What is wrong, in words."""
        late = sum(time.monotonic() - since > self._warn_after_seconds for since in self._waiting.values())
        notes = [f"new items that wait for an encoder: {late}; `duotempo status` says whether it is up"] if late else []
        if self._over_limit:
            notes.append(
                f"new items that wait for a retraining: {len(self._over_limit)}; a version takes in {MAX_ITEMS:,}"
            )
        return notes

    def update(self, connection: Connection, item_ids: Collection[str]) -> bool:
        """Asks for the vectors of these items, and reads what has come of those and of all that wait: whether any did.

        item_ids: that the bundle lacks and the catalogue has.
        """
        open_ids = self._admitted(item_ids)
        hashes = vector_hashes(connection, self._encoder, open_ids)
        missing = want_vectors(connection, self._encoder, open_ids - hashes.keys())
        waiting = [*missing, *(item for item, content in hashes.items() if content is None)]
        self._waiting = {item: self._waiting.get(item, time.monotonic()) for item in waiting}
        fresh = [item for item, content in hashes.items() if content is not None and content != self._content(item)]
        for start in range(0, len(fresh), BATCH_SIZE):
            for item in read_item_vectors(connection, self._encoder, fresh[start : start + BATCH_SIZE]):
                self._joined[item.item_id] = item
        return bool(fresh)

    def update_all(self, connection: Connection) -> bool:
        """As `look`, for all that have come so far."""
        return self.update(connection, self._joined.keys())

    def _admitted(self, item_ids: Collection[str]) -> set[str]:
        """The items to look after: those that wait, and of `item_ids` those that there is room for."""
        known = self._joined.keys() | self._waiting.keys()
        new = sorted(set(item_ids) - known)
        room = max(MAX_ITEMS - len(known), 0)
        self._over_limit |= set(new[room:])
        self._over_limit -= set(new[:room])
        return self._waiting.keys() | set(new[:room]) | (set(item_ids) & known)

    def _content(self, item: str) -> str | None:
        joined = self._joined.get(item)
        return joined.content_hash if joined else None
