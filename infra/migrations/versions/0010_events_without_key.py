"""No unique index of `events` itself: `event_keys` keeps event_id unique, nobody looks events up by it, and every
insert paid for it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("events_pkey", "events")


def downgrade() -> None:
    op.create_primary_key("events_pkey", "events", ["event_id", "occurred_at"])
