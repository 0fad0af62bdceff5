"""Fixture: a store that is emptied before each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from components.store.engine import make_engine


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    engine = make_engine(database)
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE users, items, item_vectors, events, event_keys, impressions, drift, online_metrics")
        )
    yield engine
    engine.dispose()
