"""New items: catalogue items that came after the training of a bundle.

They join the bundle with the vector of their text, which the resident encoder process computes on request through
Postgres.
"""

import time
from collections.abc import Collection

from sqlalchemy import Connection

from components.store.item_vectors import EncodedItem, read_item_vectors, request_vectors, vector_hashes

MAX_ITEMS = 20_000
"""New items per bundle at most. A catalogue that grew by more needs a retraining."""
BATCH_SIZE = 1_000
"""Vectors read per query."""


class NewItems:
    """The new items of one bundle. Not thread-safe."""

    def __init__(self, encoder: str, warn_after_seconds: float) -> None:
        """
        Args:
            encoder: Key of the encoder that the bundle was trained with.
            warn_after_seconds: After this time without a vector, an item appears in `notes`.
        """
        self._encoder = encoder
        self._warn_after_seconds = warn_after_seconds
        self._joined: dict[str, EncodedItem] = {}
        self._waiting: dict[str, float] = {}
        self._over_limit: set[str] = set()

    @property
    def joined(self) -> list[EncodedItem]:
        """New items with a vector, in order of arrival."""
        return list(self._joined.values())

    @property
    def waiting(self) -> int:
        """Number of new items without a vector."""
        return len(self._waiting) + len(self._over_limit)

    @property
    def notes(self) -> list[str]:
        """Warnings for /readyz: items without a vector for too long, or over the limit."""
        late = sum(time.monotonic() - since > self._warn_after_seconds for since in self._waiting.values())
        notes = [f"new items that wait for an encoder: {late}; `duotempo status` says whether it is up"] if late else []
        if self._over_limit:
            notes.append(
                f"new items that wait for a retraining: {len(self._over_limit)}; a version takes in {MAX_ITEMS:,}"
            )
        return notes

    def update(self, connection: Connection, item_ids: Collection[str]) -> bool:
        """Requests missing vectors, and reads those that are ready for these and all waiting items.

        Args:
            item_ids: Catalogue items that the bundle lacks.

        Returns:
            Whether any vector is new or has changed.
        """
        open_ids = self._admitted(item_ids)
        hashes = vector_hashes(connection, self._encoder, open_ids)
        missing = request_vectors(connection, self._encoder, open_ids - hashes.keys())
        waiting = [*missing, *(item for item, content in hashes.items() if content is None)]
        self._waiting = {item: self._waiting.get(item, time.monotonic()) for item in waiting}
        fresh = [item for item, content in hashes.items() if content is not None and content != self._content(item)]
        for start in range(0, len(fresh), BATCH_SIZE):
            for item in read_item_vectors(connection, self._encoder, fresh[start : start + BATCH_SIZE]):
                self._joined[item.item_id] = item
        return bool(fresh)

    def update_all(self, connection: Connection) -> bool:
        """Like `update`, for all items that have joined or are waiting."""
        return self.update(connection, self._joined.keys())

    def _admitted(self, item_ids: Collection[str]) -> set[str]:
        """The waiting items, and those of `item_ids` that fit under the limit."""
        known = self._joined.keys() | self._waiting.keys()
        new = sorted(set(item_ids) - known)
        room = max(MAX_ITEMS - len(known), 0)
        self._over_limit |= set(new[room:])
        self._over_limit -= set(new[:room])
        return self._waiting.keys() | set(new[:room]) | (set(item_ids) & known)

    def _content(self, item: str) -> str | None:
        joined = self._joined.get(item)
        return joined.content_hash if joined else None
