"""Normalises ids that earlier releases stored by other rules, as all endpoints do now, so that each user is found.

If two spellings of a user are merged, the stricter consent holds, and if one was erased, the other is erased too.
Derived data (vectors, batch recommendations) are deleted and recomputed later. Scans `events` once.
"""

from alembic import op
from sqlalchemy import Connection, text

from components.core.ids import repaired_id
from components.settings import Settings
from components.store.consent import check_key
from components.store.privacy import Privacy

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

MAYBE_NOT_NORMALISED = "octet_length({id}) <> char_length({id}) OR btrim({id}) <> {id}"
QUARANTINED = "\"row\" ->> 'user_id'"
USERS = {
    "users": "user_id", "events": "user_id", "impressions": "user_id", "user_vectors": "user_id",
    "batch_recommendations": "user_id", "erasures": "user_id", "quarantine": QUARANTINED,
}  # fmt: skip
MERGE_USER = (
    "INSERT INTO users (user_id, created_at, consent, attributes)"
    " SELECT :clean, created_at, consent, attributes FROM users WHERE user_id = :stored"
    " ON CONFLICT (user_id) DO UPDATE SET consent = users.consent AND excluded.consent",
    "DELETE FROM users WHERE user_id = :stored",
    "UPDATE events SET user_id = :clean WHERE user_id = :stored",
    "UPDATE impressions SET user_id = :clean WHERE user_id = :stored",
    "UPDATE erasures SET user_id = :clean WHERE user_id = :stored",
    "DELETE FROM user_vectors WHERE user_id IN (:stored, :clean)",
    "DELETE FROM batch_recommendations WHERE user_id IN (:stored, :clean)",
    f"WITH moved AS (DELETE FROM quarantine WHERE {QUARANTINED} = :stored RETURNING *)"
    ' INSERT INTO quarantine (source, reason, "row", seen_at) SELECT source, reason,'
    " jsonb_set(\"row\", '{user_id}', to_jsonb(CAST(:clean AS text))), seen_at FROM moved"
    " ON CONFLICT DO NOTHING",
)
FORGET = (
    "WITH gone AS (DELETE FROM events WHERE user_id = :user RETURNING event_id)"
    " DELETE FROM event_keys USING gone WHERE event_keys.event_id = gone.event_id",
    "DELETE FROM impressions WHERE user_id = :user",
    f"DELETE FROM quarantine WHERE {QUARANTINED} = :user",
    "DELETE FROM users WHERE user_id = :user",
)
MOVE_ERASURE_REQUESTS = (
    "WITH asked AS ("
    "UPDATE erasures SET user_hash = :hash WHERE user_id = :user AND done_at IS NULL RETURNING user_hash)"
    " INSERT INTO tombstones (user_hash) SELECT DISTINCT user_hash FROM asked ON CONFLICT DO NOTHING"
)
MERGE_ITEM = (
    "DELETE FROM item_vectors WHERE item_id = :stored",
    "UPDATE items SET item_id = :clean WHERE item_id = :stored"
    " AND NOT EXISTS (SELECT FROM items AS other WHERE other.item_id = :clean)",
    "DELETE FROM items WHERE item_id = :stored",
    "UPDATE events SET item_id = :clean WHERE item_id = :stored",
    "DELETE FROM batch_recommendations WHERE item_id = :stored",
)


def upgrade() -> None:
    connection = op.get_bind()
    forget(connection, merge(connection, USERS, MERGE_USER))
    merge(connection, {"items": "item_id", "events": "item_id"}, MERGE_ITEM)


def merge(connection: Connection, id_columns: dict[str, str], statements: tuple[str, ...]) -> set[str]:
    """Replaces ids that are not normalised and returns the new ones.

    Args:
        places: The id's column or expression, by table.
        statements: SQL that renames the id `:stored` to `:clean`.
    """
    merged = set()
    found = " UNION ".join(
        f"SELECT DISTINCT {id} AS id FROM {table} WHERE {MAYBE_NOT_NORMALISED.format(id=id)}"
        for table, id in id_columns.items()
    )
    for stored in connection.scalars(text(found)).all():
        clean = repaired_id(stored)
        if clean and clean != stored:
            merged.add(clean)
            for statement in statements:
                connection.execute(text(statement), {"stored": stored, "clean": clean})
    return merged


def forget(connection: Connection, users: set[str]) -> None:
    """Deletes users that were erased or have requested it. Raises PrivacyError if the privacy key does not match."""
    key = connection.scalar(text("SELECT key_id FROM privacy_key"))
    if key is None or not users:
        return
    privacy = Privacy(Settings())
    check_key(key, privacy)
    for user in users:
        row = {"user": user, "hash": privacy.tombstone(user)}
        connection.execute(text(MOVE_ERASURE_REQUESTS), row)
        if connection.scalar(text("SELECT 1 FROM tombstones WHERE user_hash = :hash"), row):
            for statement in FORGET:
                connection.execute(text(statement), row)


def downgrade() -> None:
    pass
