"""The resident encoder, a process of its own beside a real Postgres."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, delete, select, text

from components.embedding.encoder import ENGLISH, MULTILINGUAL, make_encoder
from components.ingestion.clean import clean_items
from components.interests.documents import item_texts
from components.settings import EmbeddingSettings
from components.store.engine import make_engine
from components.store.item_vectors import encoder_listens, forget_vectors, want_vectors
from components.store.load import upsert_items
from components.store.schema import Item, ItemVector
from tests.support.postgres import emptied, fresh_database
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
KEY = make_encoder(EmbeddingSettings(model=MULTILINGUAL)).key


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


@contextmanager
def resident(database: str, folder: Path, model: str) -> Iterator[Path]:
    """A running encoder; yields its log."""
    environment = os.environ | {"DUOTEMPO_DATABASE_URL": database, "DUOTEMPO_EMBEDDING__MODEL": model}
    log = folder / "encoder.log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "infra.services.encoder"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield log
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def log(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a running encoder that has both packaged models loaded."""
    with resident(database, tmp_path_factory.mktemp("encoder"), ENGLISH) as log:
        yield log


def soon(engine: Engine, holds: Callable[[Connection], object]) -> None:
    """Waits until it holds in the store."""

    def ask() -> object:
        with engine.begin() as connection:
            return holds(connection)

    eventually(ask, 120)


def put(connection: Connection, title: str, item_id: str = "new") -> str:
    """Stores an item; its text."""
    cleaned = clean_items([{"item_id": item_id, "title": title, "category": "kitchen"}], source="test")
    upsert_items(connection, cleaned.rows)
    return item_texts(pd.DataFrame([{"title": title, "category": ["kitchen"], "description": ""}]))[0]


def is_near(expected: np.ndarray, connection: Connection) -> bool:
    found = vector(connection)
    return found is not None and np.allclose(found, expected, atol=1e-5)


def vector(connection: Connection, encoder: str = KEY) -> np.ndarray | None:
    found = connection.scalar(select(ItemVector.vector).where(ItemVector.encoder == encoder))
    return None if found is None else np.asarray(found)


def test_an_item_that_is_asked_for_gets_the_vector_of_its_text_and_a_new_one_with_a_new_text(
    engine: Engine, log: Path
) -> None:
    encoder = make_encoder(EmbeddingSettings(model=MULTILINGUAL))
    soon(engine, encoder_listens)
    for title in ("A kettle that boils water", "手冲咖啡壶"):
        with engine.begin() as connection:
            written = put(connection, title)
            want_vectors(connection, KEY, ["new", "an item that is not there"])
        expected = encoder.encode([written])[0]
        soon(engine, partial(is_near, expected))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM item_vectors")).scalar_one() == 1
        connection.execute(delete(Item))
        assert connection.execute(text("SELECT count(*) FROM item_vectors")).scalar_one() == 0


def test_items_wait_for_an_encoder_that_is_away(postgres_url: str, tmp_path: Path) -> None:
    with fresh_database(postgres_url) as database:
        engine = make_engine(database)
        with engine.begin() as connection:
            for number in range(300):
                put(connection, f"Lamp {number}", f"lamp-{number}")
            want_vectors(connection, KEY, [f"lamp-{number}" for number in range(300)])
            assert not encoder_listens(connection)
        with resident(database, tmp_path, MULTILINGUAL):
            missing = select(ItemVector.item_id).where(ItemVector.vector.is_(None))
            soon(engine, lambda connection: connection.execute(missing).first() is None)
        engine.dispose()


def test_a_text_without_words_has_no_direction(engine: Engine, log: Path) -> None:
    with engine.begin() as connection:
        upsert_items(connection, clean_items([{"item_id": "new"}], source="test").rows)
        want_vectors(connection, KEY, ["new"])
    soon(engine, lambda connection: vector(connection) is not None)
    with engine.begin() as connection:
        assert not np.any(vector(connection))


def test_an_encoder_that_the_settings_do_not_give_is_named(engine: Engine, log: Path) -> None:
    with engine.begin() as connection:
        put(connection, "A lamp")
        want_vectors(connection, "shop/another@0123456789ab", ["new"])
    soon(engine, lambda _: "items that wait for shop/another@0123456789ab: 1;" in log.read_text())
    with engine.begin() as connection:
        assert vector(connection, "shop/another@0123456789ab") is None


def test_the_packaged_english_encoder_is_kept_loaded_too(engine: Engine, log: Path) -> None:
    encoder = make_encoder(EmbeddingSettings(model=ENGLISH))
    with engine.begin() as connection:
        written = put(connection, "A kettle that boils water")
        want_vectors(connection, encoder.key, ["new"])
        want_vectors(connection, KEY, ["new"])
    soon(engine, lambda connection: vector(connection, encoder.key) is not None)
    soon(engine, lambda connection: vector(connection, KEY) is not None)
    with engine.begin() as connection:
        expected = encoder.encode([written])[0]
        found = vector(connection, encoder.key)
        assert found is not None
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_old_vectors_are_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        put(connection, "A lamp")
        want_vectors(connection, KEY, ["new"])
        asked = connection.execute(select(ItemVector.wanted_at)).scalar_one()
        assert forget_vectors(connection, asked) == 0
        assert forget_vectors(connection, pd.Timestamp.now("UTC").to_pydatetime()) == 1
