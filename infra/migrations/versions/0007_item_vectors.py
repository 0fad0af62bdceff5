"""Text vectors of items that are newer than the served version's training, with NOTIFY on changes as in 0006."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CHANGES = ("INSERT", "UPDATE")


def upgrade() -> None:
    op.create_table(
        "item_vectors",
        sa.Column("item_id", sa.Text(), sa.ForeignKey("items.item_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("encoder", sa.Text(), primary_key=True),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("content_hash", sa.Text()),
        sa.Column("vector", VECTOR()),
    )
    for change in CHANGES:
        op.execute(
            f"CREATE TRIGGER item_vectors_{change.lower()}_told AFTER {change} ON item_vectors"
            " REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tell_items('duotempo_vectors')"
        )


def downgrade() -> None:
    op.drop_table("item_vectors")
