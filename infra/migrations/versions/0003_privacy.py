"""API keys, tombstones and erasure requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NOW = sa.func.now()


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    op.create_table("privacy_key", sa.Column("key_id", sa.Text(), primary_key=True))
    op.create_table(
        "tombstones",
        sa.Column("user_hash", sa.Text(), primary_key=True),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
    )
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("user_id", sa.Text()),
        sa.Column("user_hash", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Column("first_occurred_at", sa.DateTime(timezone=True)),
        sa.Column("first_received_at", sa.DateTime(timezone=True)),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.Column("report", JSONB(), nullable=False, server_default="{}"),
    )
    op.create_index("users_without_consent", "users", ["user_id"], postgresql_where=sa.text("NOT consent"))
    op.create_index("quarantine_user", "quarantine", [sa.text("btrim(\"row\" ->> 'user_id')")])


def downgrade() -> None:
    op.drop_index("quarantine_user", "quarantine")
    op.drop_index("users_without_consent", "users")
    for table in ("erasures", "tombstones", "privacy_key", "api_keys"):
        op.drop_table(table)
