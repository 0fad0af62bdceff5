"""Function `note_answers`: stores impressions in one statement and transaction; checks consent and tombstones.

Their items become json instead of jsonb, whose conversion took a third of the insert's time; only reports read them.
The table is rewritten.
"""

from alembic import op

from infra.migrations.functions import load_function

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE impressions ALTER items TYPE json USING items::json")
    load_function("note_answers")


def downgrade() -> None:
    op.execute("DROP FUNCTION note_answers")
    op.execute("ALTER TABLE impressions ALTER items TYPE jsonb USING items::jsonb")
