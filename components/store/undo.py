"""Undoes a load: removes what it stored, unless another load had it too. Erasures stay.

A later load of the same files takes over all that this one stored: it made no claims of its own.
"""

from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Engine, text

from components.store.consent import lock_users
from components.store.loads import UNDONE, LoadError, exclusive, read_load, set_state
from components.store.partitions import summarize_times
from components.store.watermarks import move_back

_TWIN = text(
    "SELECT min(twin.load_id) FROM loads JOIN loads AS twin USING (digest)"
    f" WHERE loads.load_id = :load AND twin.load_id > :load AND twin.state <> '{UNDONE}'"
)
_TO_TWIN = (
    text(
        "INSERT INTO load_claims (event_id, load_id) SELECT event_id, :twin FROM load_claims WHERE load_id = :load"
        " ON CONFLICT DO NOTHING"
    ),
    text("UPDATE event_keys SET load_id = :twin WHERE load_id = :load"),
)
_HAND_OVER = text(
    "WITH heirs AS (DELETE FROM load_claims USING (SELECT claims.event_id, min(claims.load_id) AS load_id"
    " FROM load_claims AS claims JOIN event_keys AS keys USING (event_id) WHERE keys.load_id = :load"
    " GROUP BY claims.event_id) AS first WHERE load_claims.event_id = first.event_id"
    " AND load_claims.load_id = first.load_id RETURNING load_claims.event_id, load_claims.load_id)"
    " UPDATE event_keys SET load_id = heirs.load_id FROM heirs WHERE event_keys.event_id = heirs.event_id"
)
_TIMES = text(
    "SELECT DISTINCT to_timestamp(0) + first_micros * interval '1 microsecond' AS first FROM load_chunks"
    " WHERE load_id = :load AND chunk > 0 ORDER BY first"
)
_WITHIN = "occurred_at >= CAST(:first AS timestamptz) AND occurred_at < CAST(:until AS timestamptz)"
_USERS = text(f"SELECT DISTINCT user_id FROM events WHERE {_WITHIN}")
_REMOVE = text(  # an array and IS TRUE: look-ups in the index and a hash table, whatever the planner expects
    f"WITH gone AS (DELETE FROM event_keys WHERE event_id = ANY(ARRAY(SELECT event_id FROM events WHERE {_WITHIN}))"
    " AND load_id = :load RETURNING event_id)"
    f" DELETE FROM events WHERE {_WITHIN} AND (event_id IN (SELECT event_id FROM gone)) IS TRUE"
)
_LATER = (
    "NOT EXISTS (SELECT FROM load_items AS other WHERE other.item_id = mine.item_id AND other.load_id > mine.load_id)"
)
_RESTORE_ITEMS = text(
    "UPDATE items SET title = old.title, description = old.description, category = old.category,"
    " available = old.available, published_at = old.published_at, image_uri = old.image_uri,"
    " creator_id = old.creator_id, attributes = old.attributes, content_hash = old.content_hash, updated_at = now()"
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
        of_load = {"load": load_id}
        with engine.begin() as connection:
            twin = connection.scalar(_TWIN, of_load)
            for statement in _TO_TWIN if twin else (_HAND_OVER,):
                connection.execute(statement, of_load | ({"twin": twin} if twin else {}))
        events = 0 if twin else _remove_events(engine, load_id)
        with engine.begin() as connection:
            restored = connection.execute(_RESTORE_ITEMS, of_load).rowcount
            removed = connection.execute(_DELETE_ITEMS, of_load).rowcount
            connection.execute(_PASS_ON, of_load)
            rows = connection.execute(text("DELETE FROM quarantine WHERE load_id = :load"), of_load).rowcount
            for table in ("load_items", "load_claims", "load_chunks"):
                connection.execute(text(f"DELETE FROM {table} WHERE load_id = :load"), of_load)
            move_back(connection, load_id)
        set_state(engine, load_id, UNDONE)
    return Undone(events, rows, removed, restored)


def _remove_events(engine: Engine, load_id: int) -> int:
    """Removes the events that the load stored, by the times of its chunks; each span of time is a transaction."""
    with engine.begin() as connection:
        summarize_times(connection)
        times = [time.isoformat() for time in connection.scalars(_TIMES, {"load": load_id})]
    removed = 0
    for first, until in pairwise(["-infinity", *times, "infinity"]):
        span = {"first": first, "until": until}
        with engine.begin() as connection:
            lock_users(connection, connection.scalars(_USERS, span).all())
            removed += connection.execute(_REMOVE, span | {"load": load_id}).rowcount
    return removed
