"""`take_in` uses a generic plan, planned once per connection: nearly halves Postgres' cost of a single event."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER FUNCTION take_in SET plan_cache_mode = force_generic_plan")


def downgrade() -> None:
    op.execute("ALTER FUNCTION take_in RESET plan_cache_mode")
