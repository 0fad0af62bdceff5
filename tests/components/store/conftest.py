"""What the tests of the store share: an engine, and a store that is emptied before each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from components.store.engine import make_engine


@pytest.fixture(scope="module")
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Engine:
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE users, items, item_vectors, events, event_keys, quarantine, impressions, user_vectors")
        )
    return engine
