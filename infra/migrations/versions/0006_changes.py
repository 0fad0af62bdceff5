"""NOTIFY on every change of users and items at its commit, for services that cache them in memory.

One channel per kind of change, with the id as payload; an empty payload means more than a hundred changes at once: all
cached rows are stale.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE FUNCTION tell_{what}() RETURNS trigger LANGUAGE plpgsql AS $$
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
TRIGGERS = [
    ("events", "INSERT", "users", "duotempo_users"),
    ("events", "DELETE", "users", "duotempo_users"),
    ("user_vectors", "INSERT", "users", "duotempo_users"),
    ("user_vectors", "UPDATE", "users", "duotempo_users"),
    ("user_vectors", "DELETE", "users", "duotempo_users"),
    ("users", "INSERT", "users", "duotempo_users"),
    ("users", "UPDATE", "users", "duotempo_gone"),
    ("users", "DELETE", "users", "duotempo_gone"),
    ("items", "INSERT", "items", "duotempo_items"),
    ("items", "UPDATE", "items", "duotempo_items"),
    ("items", "DELETE", "items", "duotempo_items"),
]
"""Table, operation, kind of id, channel."""


def upgrade() -> None:
    for what, column in COLUMNS.items():
        op.execute(FUNCTION.format(what=what, column=column))
    for table, change, what, channel in TRIGGERS:
        rows = "OLD" if change == "DELETE" else "NEW"
        op.execute(
            f"CREATE TRIGGER {_name(table, change)} AFTER {change} ON {table} REFERENCING {rows} TABLE AS changed"
            f" FOR EACH STATEMENT EXECUTE FUNCTION tell_{what}('{channel}')"
        )


def downgrade() -> None:
    for table, change, _, _ in TRIGGERS:
        op.execute(f"DROP TRIGGER {_name(table, change)} ON {table}")
    for what in COLUMNS:
        op.execute(f"DROP FUNCTION tell_{what}()")


def _name(table: str, change: str) -> str:
    return f"{table}_{change.lower()}_told"
