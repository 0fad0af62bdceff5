"""What the tests of the store share: an engine, and a store that is emptied before each test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from components.datasets.sources import Dataset
from components.store.engine import make_engine

NOW = datetime(2024, 6, 1, tzinfo=UTC)


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


def raw_events(rows: list[tuple[object, object, object, object]], **columns: object) -> pd.DataFrame:
    """Rows of (user, item, timestamp, event), and further columns."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"], dtype=object)
    return frame.assign(**columns)


def shop(events: pd.DataFrame, items: list[str] | None = None) -> Dataset:
    """A dataset whose items (all that the events name, unless told) have a title."""
    ids = sorted(set(events["item_id"])) if items is None else items
    catalogue = pd.DataFrame({"item_id": ids, "title": [f"Title of {item}" for item in ids], "category": "a|b"})
    return Dataset("shop", events, catalogue)
