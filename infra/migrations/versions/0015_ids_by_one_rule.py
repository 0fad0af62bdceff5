"""Ids that were stored by other rules become what every door now makes of them, so that each person is found.

Of two spellings of one person the stricter consent holds. What is made of the events (vectors, batch recommendations)
goes, and is made again. Reads `events` once.
"""

from alembic import op
from sqlalchemy import Connection, text

from components.ids import repaired_id

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SUSPECT = "octet_length({id}) <> char_length({id}) OR btrim({id}) <> {id}"
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
    merge(connection, USERS, MERGE_USER)
    merge(connection, {"items": "item_id", "events": "item_id"}, MERGE_ITEM)


def merge(connection: Connection, places: dict[str, str], statements: tuple[str, ...]) -> None:
    """places: where each table holds such ids."""
    found = " UNION ".join(
        f"SELECT DISTINCT {id} AS id FROM {table} WHERE {SUSPECT.format(id=id)}" for table, id in places.items()
    )
    for stored in connection.scalars(text(found)).all():
        clean = repaired_id(stored)
        if clean and clean != stored:
            for statement in statements:
                connection.execute(text(statement), {"stored": stored, "clean": clean})


def downgrade() -> None:
    pass
