"""Undoes a load: removes what it stored, unless another load had it too. Erasures stay."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from components.store.bulk import text_array
from components.store.consent import lock_users
from components.store.loads import UNDONE, LoadError, exclusive, read_load, set_state
from components.store.watermarks import move_back

BATCH_SIZE = 20_000
"""Events per transaction."""
_HAND_OVER = text(
    "WITH heirs AS (DELETE FROM load_claims USING (SELECT claims.event_id, min(claims.load_id) AS load_id"
    " FROM load_claims AS claims JOIN event_keys AS keys USING (event_id) WHERE keys.load_id = :load"
    " GROUP BY claims.event_id) AS first WHERE load_claims.event_id = first.event_id"
    " AND load_claims.load_id = first.load_id RETURNING load_claims.event_id, load_claims.load_id)"
    " UPDATE event_keys SET load_id = heirs.load_id FROM heirs WHERE event_keys.event_id = heirs.event_id"
)
_OWN = "SELECT event_id FROM event_keys WHERE load_id = :load"
_USERS = text(
    "SELECT DISTINCT user_id FROM events JOIN event_keys USING (event_id, occurred_at) WHERE event_id = ANY(:ids)"
)
_REMOVE = text(
    "WITH gone AS (DELETE FROM event_keys WHERE event_id = ANY(CAST(:ids AS text[])) AND load_id = :load"
    " RETURNING event_id, occurred_at)"
    " DELETE FROM events USING gone WHERE events.event_id = gone.event_id AND events.occurred_at = gone.occurred_at"
)
_LATER = (
    "NOT EXISTS (SELECT FROM load_items AS other WHERE other.item_id = mine.item_id AND other.load_id > mine.load_id)"
)
_RESTORE_ITEMS = text(
    "UPDATE items SET title = old.title, description = old.description, category = old.category,"
    " available = old.available, published_at = old.published_at, image_uri = old.image_uri,"
    " attributes = old.attributes, content_hash = old.content_hash, updated_at = now()"
    " FROM load_items AS mine, jsonb_populate_record(NULL::items, mine.before) AS old"
    f" WHERE mine.load_id = :load AND mine.before IS NOT NULL AND items.item_id = mine.item_id AND {_LATER}"
    " AND items.content_hash = mine.content_hash AND items.content_hash <> old.content_hash"
)
_DELETE_ITEMS = text(
    "DELETE FROM items USING load_items AS mine WHERE mine.load_id = :load AND mine.before IS NULL"
    f" AND items.item_id = mine.item_id AND items.content_hash = mine.content_hash AND {_LATER}"
    " AND items.item_id NOT IN (SELECT item_id FROM events)"
)


_PASS_ON = text(
    "UPDATE load_items AS next SET before = mine.before FROM load_items AS mine WHERE mine.load_id = :load"
    " AND next.item_id = mine.item_id AND next.load_id = (SELECT min(load_id) FROM load_items AS later"
    " WHERE later.item_id = mine.item_id AND later.load_id > mine.load_id)"
)


@dataclass(frozen=True)
class Undone:
    """How many rows the undo of a load removed, or restored."""

    events: int
    quarantined: int
    items_removed: int
    items_restored: int


def undo_load(engine: Engine, load_id: int) -> Undone:
    """Removes the events, items and quarantined rows of a load, in batches; may be repeated after an interruption.

    Events that another load had too stay. An item stays if a later load had it, if it was changed since, or if events
    of others refer to it; a changed one gets back its content from before the load. Users stay. The source of the load
    is read again from where it was before.

    Raises:
        LoadError: There is no such load, it is undone already, or it is in use.
    """
    with exclusive(engine, load_id):
        if read_load(engine, load_id).state == UNDONE:
            raise LoadError(f"load {load_id} is undone already")
        with engine.begin() as connection:
            connection.execute(_HAND_OVER, {"load": load_id})
        events = sum(_remove(engine, load_id, ids) for ids in _batches(engine, load_id))
        with engine.begin() as connection:
            of_load = {"load": load_id}
            restored = connection.execute(_RESTORE_ITEMS, of_load).rowcount
            removed = connection.execute(_DELETE_ITEMS, of_load).rowcount
            connection.execute(_PASS_ON, of_load)
            rows = connection.execute(text("DELETE FROM quarantine WHERE load_id = :load"), of_load).rowcount
            for table in ("load_items", "load_claims", "load_chunks"):
                connection.execute(text(f"DELETE FROM {table} WHERE load_id = :load"), of_load)
            move_back(connection, load_id)
        set_state(engine, load_id, UNDONE)
    return Undone(events, rows, removed, restored)


def _batches(engine: Engine, load_id: int) -> Iterator[list[str]]:
    with engine.connect().execution_options(yield_per=BATCH_SIZE) as connection:
        for rows in connection.execute(text(f"{_OWN} ORDER BY event_id"), {"load": load_id}).scalars().partitions():
            yield list(rows)


def _remove(engine: Engine, load_id: int, ids: list[str]) -> int:
    with engine.begin() as connection:
        lock_users(connection, connection.scalars(_USERS, {"ids": ids}).all())
        return connection.execute(_REMOVE, {"ids": text_array(ids), "load": load_id}).rowcount
