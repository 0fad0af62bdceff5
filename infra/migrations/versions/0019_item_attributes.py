"""creator_id of items, and the hash of their texts, by which vectors are found to be outdated."""

import sqlalchemy as sa
from alembic import op

from infra.migrations.functions import load_function

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TEXT_HASH = "item_text_hash(title, category, description)"


def upgrade() -> None:
    load_function("item_text_hash")
    op.add_column("items", sa.Column("creator_id", sa.Text()))
    op.add_column("items", sa.Column("text_hash", sa.Text(), sa.Computed(TEXT_HASH, persisted=True)))
    _replace_hashes("content_hash", "text_hash")


def downgrade() -> None:
    _replace_hashes("text_hash", "content_hash")
    op.drop_column("items", "text_hash")
    op.drop_column("items", "creator_id")
    op.execute("DROP FUNCTION item_text_hash")


def _replace_hashes(old: str, new: str) -> None:
    """Keeps the vectors that are up to date."""
    op.execute(
        f"UPDATE item_vectors SET content_hash = items.{new} FROM items"
        f" WHERE items.item_id = item_vectors.item_id AND item_vectors.content_hash = items.{old}"
    )
