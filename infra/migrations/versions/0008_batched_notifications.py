"""One notification per statement, with a JSON array of the changed ids as payload.

An empty payload means more ids than one notification can hold: all cached rows are stale.
"""

from alembic import op

from infra.migrations.functions import load_function

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

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
    load_function("notify_changes")


def downgrade() -> None:
    for what, column in COLUMNS.items():
        op.execute(BEFORE.format(what=what, column=column))
