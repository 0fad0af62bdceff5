"""Drops the primary key of `events`, which slowed down every insert.

`event_keys` keeps event_id unique, and no query looks up events by it.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("events_pkey", "events")


def downgrade() -> None:
    op.create_primary_key("events_pkey", "events", ["event_id", "occurred_at"])
