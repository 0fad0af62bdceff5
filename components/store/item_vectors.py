"""Text vectors of new items: requested by the service, computed by the resident encoder."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from components.core.columns import Columns
from components.store.schema import Item, ItemVector

ENCODER = "encoder"
LISTENER = "duotempo encoder"
"""application_name of the resident encoder's LISTEN connection."""
_WRITE = text(
    "UPDATE item_vectors SET content_hash = made.content_hash, vector = cast(made.vector AS vector)"
    " FROM unnest(cast(:items AS text[]), cast(:hashes AS text[]), cast(:vectors AS text[]))"
    " AS made (item_id, content_hash, vector)"
    " WHERE item_vectors.item_id = made.item_id AND item_vectors.encoder = :encoder"
)


@dataclass(frozen=True)
class EncodedItem:
    """An item with the unit vector of its text, (e,) float32, zero for an empty text.

    Attributes:
        content_hash: The text_hash of the item when it was encoded.
    """

    item_id: str
    title: str
    category: list[str]
    available: bool
    published_at: datetime | None
    content_hash: str
    vector: NDArray[np.float32]


def vector_hashes(connection: Connection, encoder: str, item_ids: Collection[str]) -> dict[str, str | None]:
    """The hash of the text of each requested vector by item; None while one is pending."""
    of_items = select(ItemVector.item_id, ItemVector.content_hash).where(ItemVector.item_id == func.any(list(item_ids)))
    rows = connection.execute(of_items.where(ItemVector.encoder == encoder))
    return {row.item_id: row.content_hash for row in rows}


def read_item_vectors(connection: Connection, encoder: str, item_ids: Collection[str]) -> list[EncodedItem]:
    """Reads the items whose vectors are computed, sorted by item_id."""
    of_item = (Item.item_id, Item.title, Item.category, Item.available, Item.published_at)
    columns = select(*of_item, ItemVector.content_hash, ItemVector.vector)
    rows = columns.join(ItemVector, ItemVector.item_id == Item.item_id).where(
        ItemVector.encoder == encoder, ItemVector.vector.is_not(None), Item.item_id == func.any(list(item_ids))
    )
    matches = connection.execute(rows.order_by(Item.item_id)).mappings()
    return [EncodedItem(**{**row, Columns.VECTOR: np.asarray(row[Columns.VECTOR], np.float32)}) for row in matches]


def request_vectors(connection: Connection, encoder: str, item_ids: Collection[str]) -> list[str]:
    """Requests the vectors of items by an encoder; deleted items are skipped.

    Args:
        encoder: Key of the encoder.

    Returns:
        The item_ids that were not requested before.
    """
    wanted = select(Item.item_id, literal(encoder)).where(Item.item_id == func.any(list(item_ids)))
    rows = insert(ItemVector).from_select([Columns.ITEM, ENCODER], wanted.order_by(Item.item_id))
    return list(connection.scalars(rows.on_conflict_do_nothing().returning(ItemVector.item_id)))


def pending_items(connection: Connection, encoders: Collection[str], limit: int) -> Sequence[RowMapping]:
    """Reads up to `limit` items whose vector is pending or outdated, oldest request first.

    The rows are locked until the end of the transaction; rows locked by others are skipped.

    Returns:
        Rows of item_id, encoder, text_hash, title, category, description.
    """
    columns = [ItemVector.item_id, ItemVector.encoder, Item.text_hash, Item.title, Item.category, Item.description]
    pending = (
        select(*columns)
        .join(Item, Item.item_id == ItemVector.item_id)
        .where(ItemVector.encoder.in_(encoders), ItemVector.content_hash.is_distinct_from(Item.text_hash))
        .order_by(ItemVector.wanted_at, ItemVector.item_id)
        .limit(limit)
        .with_for_update(of=ItemVector, skip_locked=True)
    )
    return connection.execute(pending).mappings().all()


def write_vectors(
    connection: Connection, encoder: str, item_ids: Sequence[str], hashes: Sequence[str], vectors: NDArray[np.float32]
) -> None:
    """Stores vectors (n, e) float32 of n items, with the hashes of the texts that they were computed from."""
    rows = [json.dumps(vector.tolist()) for vector in vectors]
    parameters = {"items": list(item_ids), "hashes": list(hashes), "vectors": rows, "encoder": encoder}
    connection.execute(_WRITE, parameters)


def unknown_encoders(connection: Connection, encoders: Collection[str]) -> dict[str, int]:
    """Counts the pending vectors of each encoder that is not among these."""
    pending = select(ItemVector.encoder, func.count().label("items")).where(ItemVector.vector.is_(None))
    unknown = pending.where(ItemVector.encoder.not_in(encoders)).group_by(ItemVector.encoder)
    return {row.encoder: row.items for row in connection.execute(unknown)}


def delete_old_vectors(connection: Connection, before: datetime) -> int:
    """Deletes the vectors requested before that time and returns their number; a needed one is requested again."""
    return connection.execute(delete(ItemVector).where(ItemVector.wanted_at < before)).rowcount


def encoder_is_listening(connection: Connection) -> bool:
    """Whether a resident encoder is ready and listens for new items."""
    listeners = text("SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name")
    return connection.execute(listeners, {"name": LISTENER}).first() is not None
