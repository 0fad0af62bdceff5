"""Who may come in, asked once the users are locked, in one go."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE FUNCTION admission(space int, buckets int[], users_asked text[], items_asked text[])
RETURNS TABLE (what text, said text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY  -- sees what was committed before the locks were had
        SELECT 'no_consent', user_id FROM users WHERE user_id = ANY(users_asked) AND NOT consent
        UNION ALL SELECT 'key', key_id FROM privacy_key
        UNION ALL SELECT 'unknown_item', asked FROM unnest(items_asked) AS asked
        WHERE NOT EXISTS (SELECT FROM items WHERE item_id = asked);
END $$
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION admission")
