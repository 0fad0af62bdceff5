"""Everything that the store holds of a person, as JSON-ready data."""

from typing import Any

from sqlalchemy import Connection, text

from components.privacy import Privacy
from components.store.people import refused

_QUERIES = {
    "user": "SELECT * FROM users WHERE user_id = :user",
    "events": "SELECT * FROM events WHERE user_id = :user ORDER BY occurred_at, received_at, event_id",
    "impressions": "SELECT * FROM impressions WHERE user_id = :user ORDER BY served_at, request_id",
    "interest_vectors": (
        "SELECT encoder, as_of, document_long::text, document_short::text FROM user_vectors WHERE user_id = :user"
    ),
    "batch_recommendations": "SELECT * FROM batch_recommendations WHERE user_id = :user ORDER BY rank",
    "rejected_rows": (
        "SELECT * FROM quarantine WHERE left(btrim(\"row\" ->> 'user_id'), 201) = :user ORDER BY quarantine_id"
    ),
}


def export_user(connection: Connection, privacy: Privacy, user_id: str) -> dict[str, Any]:
    """The rows of every table that names the user, as the store knows them. Raises PrivacyError."""
    said = refused(connection, privacy, [user_id])
    found: dict[str, Any] = {"user_id": user_id, "nothing_is_kept_because": said.get(user_id)}
    for name, query in _QUERIES.items():
        rows = connection.execute(text(f"SELECT to_jsonb(found) FROM ({query}) AS found"), {"user": user_id})
        found[name] = list(rows.scalars())
    return found
