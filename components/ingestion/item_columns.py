"""Updates of some columns of an item: the others keep their stored values."""

import hashlib
import json
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass
from datetime import UTC

from sqlalchemy import Connection, func, select

from components.core.columns import MAX_ATTRIBUTES, Columns
from components.ingestion.attributes import too_many
from components.store.db_errors import refused_row
from components.store.rows import ItemRow, Rejected
from components.store.schema import Item


@dataclass(frozen=True)
class MergedItems:
    """Items with their stored columns.

    Attributes:
        rows: What to store.
        known: The item_ids that are stored already.
        refused: Items that cannot be stored with what is stored already, by their position.
    """

    rows: list[ItemRow]
    known: Set[str]
    refused: list[Rejected]


def with_content_hash(item: ItemRow) -> ItemRow:
    """A copy with the sha256 of the item's columns.

    creator_id and attributes count only where there are some, so that items without them keep the hash of releases
    that did not have these columns.
    """
    *content, creator, attributes, _ = item[1:]
    parts = list(map(str, content))
    if creator is not None or attributes:
        parts += [creator or "", json.dumps(attributes, sort_keys=True)]
    return item._replace(content_hash=hashlib.sha256("\x1f".join(parts).encode()).hexdigest())


def with_stored_columns(item: ItemRow, stored: ItemRow, given: Container[str]) -> ItemRow:
    """A copy of an item with the stored values of the columns that are not given.

    Attributes are added to the stored ones; only if `given` names them, they replace the stored ones.
    """
    kept = {name: value for name, value in stored._asdict().items() if name not in given}
    if (time := kept.get(Columns.PUBLISHED_AT)) is not None:
        kept[Columns.PUBLISHED_AT] = time.astimezone(UTC)
    if Columns.ATTRIBUTES in kept:
        kept[Columns.ATTRIBUTES] = {**stored.attributes, **item.attributes}
    return with_content_hash(item._replace(**kept))


def merge_with_stored(connection: Connection, items: Sequence[ItemRow], given: Sequence[Container[str]]) -> MergedItems:
    """Fills items with their stored columns (`with_stored_columns`); the stored rows are locked until the commit.

    Args:
        items: With unique item_ids.
        given: The columns that each of the items has.
    """
    columns = [getattr(Item, name) for name in ItemRow._fields]
    ids = [item.item_id for item in items]
    stored = select(*columns).where(Item.item_id == func.any(ids)).order_by(Item.item_id).with_for_update()
    known = {row.item_id: ItemRow(*row) for row in connection.execute(stored)}
    merged = MergedItems([], known.keys(), [])
    for position, (item, names) in enumerate(zip(items, given, strict=True)):
        row = with_stored_columns(item, known[item.item_id], names) if item.item_id in known else item
        if (count := len(row.attributes)) > MAX_ATTRIBUTES:
            reason = f"bad_attributes: with the stored ones there are {too_many(count)}"
            merged.refused.append(refused_row(item, reason, position))
        else:
            merged.rows.append(row)
    return merged
