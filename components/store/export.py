"""Everything that the store holds of a person, as JSON-ready data."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from components.store.people import refused
from components.store.privacy import Privacy
from components.store.schema import QUARANTINED_USER

_QUERIES = {
    "user": "SELECT * FROM users WHERE user_id = ANY(:names)",
    "events": "SELECT * FROM events WHERE user_id = ANY(:names) ORDER BY occurred_at, received_at, event_id",
    "impressions": "SELECT * FROM impressions WHERE user_id = ANY(:names) ORDER BY served_at, request_id",
    "interest_vectors": (
        "SELECT encoder, as_of, document_long::text, document_short::text FROM user_vectors WHERE user_id = ANY(:names)"
    ),
    "batch_recommendations": "SELECT * FROM batch_recommendations WHERE user_id = ANY(:names) ORDER BY rank",
    "rejected_rows": f"SELECT * FROM quarantine WHERE {QUARANTINED_USER} = ANY(:names) ORDER BY quarantine_id",
}


def export_user(connection: Connection, privacy: Privacy, names: Sequence[str]) -> dict[str, Any]:
    """The rows of every table that names the user by one of `names` (`Privacy.names`). Raises PrivacyError."""
    reason = next(iter(refused(connection, privacy, names).values()), None)
    found: dict[str, Any] = {"user_id": names[0], "excluded_reason": reason, "nothing_is_kept_because": reason}
    for name, query in _QUERIES.items():
        rows = connection.execute(text(f"SELECT to_jsonb(found) FROM ({query}) AS found"), {"names": list(names)})
        found[name] = list(rows.scalars())
    return found
