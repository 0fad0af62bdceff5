"""Which vectors of items have to be computed again."""

import numpy as np
from sqlalchemy import Connection, Engine

from components.ingestion.clean import clean_items
from components.store.item_vectors import pending_items, read_item_vectors, request_vectors, write_vectors
from components.store.load import upsert_items

ENCODER = "test/encoder@0"


def store_item(connection: Connection, **columns: object) -> None:
    upsert_items(connection, clean_items([{"item_id": "lamp", **columns}], source="test").rows)


def encode(connection: Connection) -> int:
    """Stores a vector of each pending item; returns their number."""
    pending = pending_items(connection, [ENCODER], 10)
    ids, hashes = ([str(item[name]) for item in pending] for name in ("item_id", "text_hash"))
    write_vectors(connection, ENCODER, ids, hashes, np.ones((len(pending), 3), np.float32))
    return len(pending)


def test_only_another_text_is_encoded_again(store: Engine) -> None:
    with store.begin() as connection:
        store_item(connection, title="A lamp")
        request_vectors(connection, ENCODER, ["lamp"])
        assert encode(connection) == 1
        [before] = read_item_vectors(connection, ENCODER, ["lamp"])
        changed = {"creator_id": "Ida", "attributes": {"price": 5}, "available": False, "image_uri": "lamp.png"}
        store_item(connection, title="A lamp", **changed)
        assert encode(connection) == 0
        [after] = read_item_vectors(connection, ENCODER, ["lamp"])
        assert (after.content_hash, after.available) == (before.content_hash, False)
        for text in ({"title": "Another lamp"}, {"description": "It shines."}, {"category": ["light", "home"]}):
            store_item(connection, **text)
            assert encode(connection) == 1, text
