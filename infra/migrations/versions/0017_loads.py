"""Journal of loads: which chunks of a file are stored, and what has to go when a load is undone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "loads",
        sa.Column("load_id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("counts", JSONB(), nullable=False, server_default="{}"),
    )
    op.create_table(
        "load_chunks",
        sa.Column("load_id", sa.BigInteger(), sa.ForeignKey("loads.load_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("chunk", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("first_micros", sa.BigInteger(), nullable=False),
        sa.Column("first_arrival", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.Integer()),
        sa.Column("existing", sa.Integer()),
        sa.Column("refused", sa.Integer()),
        sa.Column("done_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "load_claims",
        sa.Column("event_id", sa.Text(), primary_key=True),
        sa.Column("load_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    op.create_table(
        "load_items",
        sa.Column("item_id", sa.Text(), primary_key=True),
        sa.Column("load_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("before", JSONB()),
    )
    for table in ("event_keys", "quarantine"):
        op.add_column(table, sa.Column("load_id", sa.BigInteger()))


def downgrade() -> None:
    for table in ("event_keys", "quarantine"):
        op.drop_column(table, "load_id")
    for table in ("load_items", "load_claims", "load_chunks", "loads"):
        op.drop_table(table)
