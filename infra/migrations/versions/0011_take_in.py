"""Function `take_in`: stores feedback in one statement and transaction.

It checks consent, privacy key, tombstones and items, and appends the events if no check finds anything.
"""

from alembic import op

from infra.migrations.functions import load_function

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    load_function("append_events")
    load_function("take_in")


def downgrade() -> None:
    op.execute("DROP FUNCTION take_in")
    op.execute("DROP FUNCTION append_events")
