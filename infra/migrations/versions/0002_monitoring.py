"""Tables of the flow `monitor`: drift and online metrics."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("measured_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("feature", sa.Text(), primary_key=True),
        sa.Column("value", sa.Float()),
        sa.Column("reference_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reference_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_to", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "online_metrics",
        sa.Column("measured_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("variant", sa.Text(), primary_key=True),
        sa.Column("metric", sa.Text(), primary_key=True),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("mean", sa.Float()),
        sa.Column("low", sa.Float()),
        sa.Column("high", sa.Float()),
        sa.Column("window_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_to", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("online_metrics")
    op.drop_table("drift")
