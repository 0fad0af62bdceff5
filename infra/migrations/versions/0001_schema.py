"""Initial schema: users, items, events, impressions, vectors, promotions, quarantine."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.func.now()


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    _people_and_items()
    _events()
    _served()
    _append_only("promotions")


def downgrade() -> None:
    for table in (
        "quarantine", "promotions", "batch_recommendations", "user_vectors", "impressions", "event_keys", "events",
        "items", "users",
    ):  # fmt: skip
        op.drop_table(table)
    op.execute("DROP FUNCTION append_only")


def _people_and_items() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Column("consent", sa.Boolean(), nullable=False, server_default="true"),
        sa.Column("attributes", JSONB(), nullable=False, server_default="{}"),
    )
    op.create_table(
        "items",
        sa.Column("item_id", sa.Text(), primary_key=True),
        sa.Column("title", sa.Text(), nullable=False, server_default=""),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("category", ARRAY(sa.Text()), nullable=False, server_default="{}"),
        sa.Column("available", sa.Boolean(), nullable=False, server_default="true"),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("image_uri", sa.Text()),
        sa.Column("attributes", JSONB(), nullable=False, server_default="{}"),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.Text(), primary_key=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("text", sa.Text()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Column("session_id", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("model_version", sa.Text()),
        sa.Column("variant", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Index("events_user_time", "user_id", "occurred_at"),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_table(
        "event_keys",
        sa.Column("event_id", sa.Text(), primary_key=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
    )


def _served() -> None:
    op.create_table(
        "impressions",
        sa.Column("request_id", sa.Text(), primary_key=True),
        sa.Column("served_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("items", JSONB(), nullable=False),
        sa.Index("impressions_user_time", "user_id", "served_at"),
        postgresql_partition_by="RANGE (served_at)",
    )
    op.create_table(
        "user_vectors",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("encoder", sa.Text(), primary_key=True),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document_long", VECTOR(), nullable=False),
        sa.Column("document_short", VECTOR()),
    )
    op.create_table(
        "batch_recommendations",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
    )
    op.create_table(
        "promotions",
        sa.Column("promotion_id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("row", JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Index("quarantine_source_reason", "source", "reason"),
    )


def _append_only(table: str) -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'the table % is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
    )
