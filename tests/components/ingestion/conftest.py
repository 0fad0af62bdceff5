"""Fixtures of the tests of loading: an emptied store."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.postgres import emptied


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine
