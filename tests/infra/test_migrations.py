"""What the migrations make is what the models say."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from components.store.engine import make_engine
from components.store.schema import Base
from infra.migrations import migrate


def test_the_migrations_make_the_models(database: str) -> None:
    migrate(database)
    engine = make_engine(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        partitioned = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname")
        assert partitioned.scalars().all() == ["events", "impressions"]
    engine.dispose()


@pytest.mark.parametrize(
    "statement", ["UPDATE promotions SET actor = 'x'", "DELETE FROM promotions", "TRUNCATE promotions"]
)
def test_promotions_are_only_appended(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO promotions (version, actor, reason, state) VALUES ('1', 'me', 'why', 'promoted')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="promotions is append-only"):
            connection.execute(statement.encode())
        row = connection.execute("SELECT actor FROM promotions WHERE version = '1'").fetchone()
        assert row == ("me",)
