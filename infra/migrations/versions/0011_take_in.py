"""Feedback is stored by one statement, which is its own transaction: who may come in is asked and the events appended
in one go."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ARRAYS = (
    "event_ids text[], users_given text[], items_given text[], events_given text[], values_given float8[],"
    " texts text[], seconds float8[], sessions text[], requests text[], versions text[], variants text[],"
    " sources text[], arrivals bigint[]"
)
GIVEN = (
    "event_ids, users_given, items_given, events_given, values_given, texts, seconds, sessions, requests, versions,"
    " variants, sources, arrivals"
)
COLUMNS = (
    "event_id, user_id, item_id, event, value, text, occurred_at, session_id, request_id, model_version, variant,"
    " source"
)
APPEND = f"""
CREATE FUNCTION append_events({ARRAYS}) RETURNS SETOF text LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY  -- the event_ids that were there before
        WITH incoming AS MATERIALIZED (
            SELECT {COLUMNS.replace("occurred_at", "to_timestamp(second) AS occurred_at")}, arrival
            FROM unnest({GIVEN}) AS given ({COLUMNS.replace("occurred_at", "second")}, arrival)
        ), people AS (
            INSERT INTO users (user_id) SELECT DISTINCT user_id FROM incoming
            WHERE NOT EXISTS (SELECT FROM users WHERE users.user_id = incoming.user_id)
            ORDER BY 1 ON CONFLICT DO NOTHING
        ), fresh AS (
            INSERT INTO event_keys (event_id, occurred_at) SELECT event_id, occurred_at FROM incoming
            ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id
        ), stored AS (
            INSERT INTO events ({COLUMNS}, received_at)
            SELECT {COLUMNS}, now() + arrival * interval '1 microsecond' FROM incoming JOIN fresh USING (event_id)
        )
        SELECT event_id FROM incoming WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.event_id = incoming.event_id);
END $$
"""
TAKE_IN = f"""
CREATE FUNCTION take_in(
    space int, buckets int[], users_asked text[], items_asked text[], key_held text, hashes text[], {ARRAYS}
) RETURNS TABLE (what text, said text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(space, bucket) FROM unnest(buckets) AS bucket;
    RETURN QUERY  -- sees what was committed before the locks were had
        SELECT 'no_consent', user_id FROM users WHERE user_id = ANY(users_asked) AND NOT consent
        UNION ALL SELECT 'key', key_id FROM privacy_key WHERE key_id IS DISTINCT FROM key_held
        UNION ALL SELECT 'forgotten', user_hash FROM tombstones WHERE user_hash = ANY(hashes)
        UNION ALL SELECT 'unknown_item', asked FROM unnest(items_asked) AS asked
        WHERE NOT EXISTS (SELECT FROM items WHERE item_id = asked);
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'known', known FROM append_events({GIVEN}) AS known;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(APPEND)
    op.execute(TAKE_IN)


def downgrade() -> None:
    op.execute("DROP FUNCTION take_in")
    op.execute("DROP FUNCTION append_events")
