"""Quarantine accepts rows of any size: indexes use a prefix of the user id, and a digest to find duplicates."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

USER = "btrim(\"row\" ->> 'user_id')"
DIGEST = 'md5(source || reason || "row"::text)'


def upgrade() -> None:
    op.execute("DROP INDEX quarantine_user")
    op.execute(f"CREATE INDEX quarantine_user ON quarantine (left({USER}, 201))")
    op.execute(
        "DELETE FROM quarantine USING (SELECT quarantine_id, row_number() OVER"
        f" (PARTITION BY {DIGEST} ORDER BY quarantine_id) AS time FROM quarantine) AS kept"
        " WHERE quarantine.quarantine_id = kept.quarantine_id AND time > 1"
    )
    op.execute(f"CREATE UNIQUE INDEX quarantine_once ON quarantine ({DIGEST})")


def downgrade() -> None:
    op.execute("DROP INDEX quarantine_once")
    op.execute("DROP INDEX quarantine_user")
    op.execute(f"CREATE INDEX quarantine_user ON quarantine ({USER})")
