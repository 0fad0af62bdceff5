"""Fixtures of the store's tests: an engine, and a store that is emptied before each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from components.store.engine import make_engine
from tests.support.postgres import empty


@pytest.fixture(scope="module")
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Engine:
    empty(engine)
    return engine
