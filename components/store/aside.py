"""Events that are taken out of the store again: they go to quarantine."""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection, text

from components.store.load import quarantine_all
from components.store.people import lock_users
from components.store.rows import Rejected

_FIND = text(
    "SELECT event_id, user_id, source, to_jsonb(events) FROM events JOIN event_keys USING (event_id, occurred_at)"
    " WHERE event_id = ANY(:ids)"
)
_REMOVE = (
    text(
        "DELETE FROM events USING event_keys AS known WHERE known.event_id = ANY(:ids)"
        " AND events.event_id = known.event_id AND events.occurred_at = known.occurred_at"
    ),
    text("DELETE FROM event_keys WHERE event_id = ANY(:ids)"),
)


def put_aside(connection: Connection, reasons: Mapping[str, str]) -> int:
    """Moves events to quarantine, with the reasons by event_id: how many were there. The same event may come again."""
    ids = {"ids": list(reasons)}
    lock_users(connection, {row.user_id for row in connection.execute(_FIND, ids)})
    found: dict[str, list[Rejected]] = defaultdict(list)
    for event_id, _, source, row in connection.execute(_FIND, ids):
        found[source].append(Rejected(-1, row, f"failed_validation: {reasons[event_id]}"))
    for source, rejected in found.items():
        quarantine_all(connection, source, rejected)
    for statement in _REMOVE:
        connection.execute(statement, ids)
    return sum(map(len, found.values()))
