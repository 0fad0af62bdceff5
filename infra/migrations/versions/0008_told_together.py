"""What changes together is told together: one notification a statement, its payload a JSON array of the ids.

An empty payload stands for more ids than one notification holds: all of them.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOST_BYTES = 7900
"""Postgres takes payloads of less than 8,000."""
FUNCTION = """
CREATE OR REPLACE FUNCTION tell_{what}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text := (SELECT json_agg(id) FROM (SELECT DISTINCT {column} AS id FROM changed LIMIT {most}) AS few);
BEGIN
    IF octet_length(ids) > {bytes} THEN
        PERFORM pg_notify(TG_ARGV[0], '');
    ELSIF ids IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[0], ids);
    END IF;
    RETURN NULL;
END $$
"""
BEFORE = """
CREATE OR REPLACE FUNCTION tell_{what}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM (SELECT DISTINCT {column} FROM changed LIMIT 101) AS few) > 100 THEN
        PERFORM pg_notify(TG_ARGV[0], '');
    ELSE
        PERFORM pg_notify(TG_ARGV[0], {column}) FROM (SELECT DISTINCT {column} FROM changed) AS ids;
    END IF;
    RETURN NULL;
END $$
"""
COLUMNS = {"users": "user_id", "items": "item_id"}


def upgrade() -> None:
    for what, column in COLUMNS.items():
        most = MOST_BYTES // 4 + 1  # so many take more bytes than that, however short they are
        op.execute(FUNCTION.format(what=what, column=column, most=most, bytes=MOST_BYTES))


def downgrade() -> None:
    for what, column in COLUMNS.items():
        op.execute(BEFORE.format(what=what, column=column))
