"""Alembic migrations of Duotempo's own database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from components.store.engine import make_engine

LOCK = 0x64756F74
"""Advisory lock that serialises migrations."""


def migrate(database_url: str) -> None:
    """Migrates the schema to the latest revision. Idempotent, and safe to run concurrently.

    Raises components.store.engine.StoreError if the database is down.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
