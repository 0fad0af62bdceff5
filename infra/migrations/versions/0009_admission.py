"""Function `admission`: locks users, then checks consent, the privacy key and unknown items in one query."""

from alembic import op

from infra.migrations.functions import load_function

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    load_function("admission")


def downgrade() -> None:
    op.execute("DROP FUNCTION admission")
