"""The migrated schema matches the models; data migrations."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from components.settings import Settings
from components.store.consent import claim_key
from components.store.engine import make_engine
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy, PrivacyError
from components.store.schema import Base
from infra import migrations
from infra.migrations import migrate
from tests.support.postgres import fresh_database, stored
from tests.support.service_client import SECRET


def test_migrations_match_the_models(database: str) -> None:
    migrate(database)
    engine = make_engine(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        partitioned = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname")
        assert partitioned.scalars().all() == ["events", "impressions"]
    engine.dispose()


def test_the_journal_of_loads_can_be_taken_out_and_comes_back_empty(postgres_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with fresh_database(postgres_url) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO loads (source, digest, state) VALUES ('s', 'd', 'complete')"))
            connection.execute(text("INSERT INTO load_chunks VALUES (1, 0, 0, 0, 1, 0, 0, now())"))
            connection.execute(text("INSERT INTO event_keys VALUES ('e', now(), 1)"))
            connection.execute(
                text("INSERT INTO quarantine (source, \"row\", reason, load_id) VALUES ('s', '{}', 'r', 1)")
            )
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0016")
        assert stored(url, "SELECT count(*) FROM pg_class WHERE starts_with(relname, 'load') AND relkind = 'r'") == [
            (0,)
        ]
        migrate(url)
        assert stored(url, "SELECT event_id, load_id FROM event_keys") == [("e", None)]
        assert stored(url, "SELECT source, load_id FROM quarantine") == [("s", None)]
        assert stored(url, "SELECT count(*) FROM loads") == [(0,)]
        engine.dispose()


@pytest.mark.parametrize(
    "statement", ["UPDATE promotions SET actor = 'x'", "DELETE FROM promotions", "TRUNCATE promotions"]
)
def test_promotions_are_append_only(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO promotions (version, actor, reason, state) VALUES ('1', 'me', 'why', 'promoted')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="promotions is append-only"):
            connection.execute(statement.encode())
        row = connection.execute("SELECT actor FROM promotions WHERE version = '1'").fetchone()
        assert row == ("me",)


NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPELLINGS = {"josé": True, "jose\u0301": False, " kim ": False, "mi\u200bra": True}
"""User ids as earlier releases stored them, and their consent."""


def back_to_0014(connection: Connection) -> None:
    """Undoes the changes of the schema since revision 0014, which has the ids of earlier releases."""
    for table in ("load_chunks", "loads", "load_claims", "load_items", "source_watermarks"):
        connection.execute(text(f"DROP TABLE {table}"))
    for table in ("event_keys", "quarantine"):
        connection.execute(text(f"ALTER TABLE {table} DROP COLUMN load_id"))
    connection.execute(text("ALTER TABLE promotions DROP COLUMN forced"))
    connection.execute(text("ALTER TABLE items DROP COLUMN creator_id, DROP COLUMN text_hash"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0014'"))


def test_ids_are_normalised_and_merged_with_the_stricter_consent(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        engine = make_engine(url)
        ensure_partitions(engine.begin, [NOW])
        with engine.begin() as connection:
            back_to_0014(connection)
            for item in ("a1", "a1\ufeff", "\u200bb1"):
                connection.execute(text("INSERT INTO items (item_id, content_hash) VALUES (:item, '')"), {"item": item})
            for user, consent in SPELLINGS.items():
                row = {"user": user, "consent": consent, "now": NOW, "item": "a1\ufeff"}
                connection.execute(text("INSERT INTO users (user_id, consent) VALUES (:user, :consent)"), row)
                connection.execute(
                    text(
                        "INSERT INTO events (event_id, occurred_at, user_id, item_id, event, source)"
                        " VALUES (:user, :now, :user, :item, 'view', 'test')"
                    ),
                    row,
                )
                connection.execute(
                    text(
                        'INSERT INTO quarantine (source, "row", reason)'
                        " VALUES ('test', jsonb_build_object('user_id', CAST(:user AS text)), 'bad_value')"
                    ),
                    row,
                )
        engine.dispose()
        migrate(url)
        people = {"josé": False, "kim": False, "mira": True}
        assert sorted(stored(url, "SELECT user_id, consent FROM users")) == sorted(people.items())
        events = stored(url, "SELECT user_id FROM events")
        assert sorted(events) == [("josé",), ("josé",), ("kim",), ("mira",)]
        assert {user for (user,) in stored(url, "SELECT \"row\" ->> 'user_id' FROM quarantine")} == set(people)
        assert stored(url, "SELECT DISTINCT item_id FROM events") == [("a1",)]
        assert {item for (item,) in stored(url, "SELECT item_id FROM items")} == {"a1", "b1"}


def test_erased_users_stay_erased_under_another_spelling(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOTEMPO_PRIVACY__KEY", SECRET)
    privacy = Privacy(Settings())
    with fresh_database(postgres_url) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            back_to_0014(connection)
            claim_key(connection, privacy)
            for user in (" kim ", "\ufefflea", "\ufeffmira"):
                connection.execute(text("INSERT INTO users (user_id) VALUES (:user)"), {"user": user})
            connection.execute(
                text("INSERT INTO tombstones (user_hash) VALUES (:hash)"), {"hash": privacy.tombstone("kim")}
            )
            asked = {"user": "\ufefflea", "hash": privacy.tombstone("\ufefflea")}
            connection.execute(text("INSERT INTO erasures (user_id, user_hash) VALUES (:user, :hash)"), asked)
        engine.dispose()
        migrate(url)
        assert stored(url, "SELECT user_id FROM users") == [("mira",)]
        assert stored(url, "SELECT user_id, user_hash FROM erasures") == [("lea", privacy.tombstone("lea"))]
        hashes = {one for (one,) in stored(url, "SELECT user_hash FROM tombstones")}
        assert hashes == {privacy.tombstone("kim"), privacy.tombstone("lea")}


def test_migration_stops_with_another_privacy_key(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOTEMPO_PRIVACY__KEY", SECRET)
    with fresh_database(postgres_url) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            back_to_0014(connection)
            connection.execute(text("INSERT INTO privacy_key (key_id) VALUES ('another')"))
            connection.execute(text("INSERT INTO users (user_id) VALUES (' kim ')"))
        engine.dispose()
        with pytest.raises(PrivacyError, match="another privacy key"):
            migrate(url)
        assert stored(url, "SELECT user_id FROM users") == [(" kim ",)]
