"""BRIN index on the time of events, so that recent ones are found without a scan of the month."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("events_time", "events", ["occurred_at"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_index("events_time", "events")
