"""Migration 0019 on a store that has vectors of items."""

import numpy as np
from sqlalchemy import text

from components.store.engine import make_engine
from components.store.item_vectors import pending_items, request_vectors, write_vectors
from infra.migrations import migrate
from tests.support.postgres import fresh_database, stored

ENCODER = "test/encoder@0"


def test_vectors_that_are_up_to_date_stay_so(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE items DROP COLUMN creator_id, DROP COLUMN text_hash"))
            connection.execute(text("UPDATE alembic_version SET version_num = '0018'"))
            connection.execute(
                text("INSERT INTO items (item_id, title, content_hash) VALUES ('old', 'Old', '1'), ('new', 'New', '2')")
            )
            request_vectors(connection, ENCODER, ["old", "new"])
            write_vectors(connection, ENCODER, ["old", "new"], ["outdated", "2"], np.ones((2, 3), np.float32))
        engine.dispose()
        migrate(url)
        with engine.begin() as connection:
            assert [item["item_id"] for item in pending_items(connection, [ENCODER], 10)] == ["old"]
        engine.dispose()
        assert stored(url, "SELECT DISTINCT creator_id, attributes FROM items") == [(None, {})]
