"""The resident encoder as a separate process, with a real Postgres."""

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
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, delete, select, text

from components.embedding.encoder import ENGLISH, MULTILINGUAL, make_encoder
from components.ingestion.clean import clean_items
from components.interests.documents import item_texts
from components.settings import EmbeddingSettings
from components.store.engine import make_engine
from components.store.item_vectors import delete_old_vectors, encoder_is_listening, request_vectors
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
def running_encoder(database: str, folder: Path, model: str, idle_seconds: float = 300) -> Iterator[Path]:
    """Runs an encoder process; yields its log file.

    Args:
        idle_seconds: Time without new items after which the encoder leaves memory, the first time.
    """
    environment = os.environ | {"DUOTEMPO_DATABASE_URL": database, "DUOTEMPO_EMBEDDING__MODEL": model}
    log = folder / "encoder.log"
    with log.open("w") as file:
        program = (
            "from infra.services import encoder; encoder.IDLE_SECONDS = {0}; encoder.POLL_SECONDS = 1; encoder.main()"
        )
        command = [sys.executable, "-c", program.format(idle_seconds)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield log
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def log(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Log file of a running encoder with both packaged models loaded."""
    with running_encoder(database, tmp_path_factory.mktemp("encoder"), ENGLISH) as log:
        yield log


def wait_until(engine: Engine, condition: Callable[[Connection], object]) -> None:
    """Waits until a condition on the database holds."""

    def query() -> object:
        with engine.begin() as connection:
            return condition(connection)

    eventually(query, 120)


def store_item(connection: Connection, title: str, item_id: str = "new") -> str:
    """Stores an item and returns its text for embedding."""
    cleaned = clean_items([{"item_id": item_id, "title": title, "category": "kitchen"}], source="test")
    upsert_items(connection, cleaned.rows)
    return item_texts(pd.DataFrame([{"title": title, "category": ["kitchen"], "description": ""}]))[0]


def is_near(expected: NDArray[np.float32], connection: Connection) -> bool:
    stored = vector(connection)
    return stored is not None and np.allclose(stored, expected, atol=1e-5)


def vector(connection: Connection, encoder: str = KEY) -> NDArray[np.float32] | None:
    stored = connection.scalar(select(ItemVector.vector).where(ItemVector.encoder == encoder))
    return None if stored is None else np.asarray(stored)


def test_requested_item_gets_its_vector_and_a_new_one_after_a_text_change(engine: Engine, log: Path) -> None:
    encoder = make_encoder(EmbeddingSettings(model=MULTILINGUAL))
    wait_until(engine, encoder_is_listening)
    for title in ("A kettle that boils water", "手冲咖啡壶"):
        with engine.begin() as connection:
            written = store_item(connection, title)
            request_vectors(connection, KEY, ["new", "an item that is not there"])
        expected = encoder.encode([written])[0]
        wait_until(engine, partial(is_near, expected))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM item_vectors")).scalar_one() == 1
        connection.execute(delete(Item))
        assert connection.execute(text("SELECT count(*) FROM item_vectors")).scalar_one() == 0


def test_requests_are_served_after_the_encoder_starts(postgres_url: str, tmp_path: Path) -> None:
    with fresh_database(postgres_url) as database:
        engine = make_engine(database)
        with engine.begin() as connection:
            for number in range(300):
                store_item(connection, f"Lamp {number}", f"lamp-{number}")
            request_vectors(connection, KEY, [f"lamp-{number}" for number in range(300)])
            assert not encoder_is_listening(connection)
        with running_encoder(database, tmp_path, MULTILINGUAL):
            missing = select(ItemVector.item_id).where(ItemVector.vector.is_(None))
            wait_until(engine, lambda connection: connection.execute(missing).first() is None)
        engine.dispose()


def test_empty_text_gets_a_zero_vector(engine: Engine, log: Path) -> None:
    with engine.begin() as connection:
        upsert_items(connection, clean_items([{"item_id": "new"}], source="test").rows)
        request_vectors(connection, KEY, ["new"])
    wait_until(engine, lambda connection: vector(connection) is not None)
    with engine.begin() as connection:
        assert not np.any(vector(connection))


def test_request_for_unknown_encoder_is_logged(engine: Engine, log: Path) -> None:
    with engine.begin() as connection:
        store_item(connection, "A lamp")
        request_vectors(connection, "shop/another@0123456789ab", ["new"])
    wait_until(engine, lambda _: "items that wait for shop/another@0123456789ab: 1;" in log.read_text())
    with engine.begin() as connection:
        assert vector(connection, "shop/another@0123456789ab") is None


def test_both_packaged_encoders_are_served(engine: Engine, log: Path) -> None:
    encoder = make_encoder(EmbeddingSettings(model=ENGLISH))
    with engine.begin() as connection:
        written = store_item(connection, "A kettle that boils water")
        request_vectors(connection, encoder.key, ["new"])
        request_vectors(connection, KEY, ["new"])
    wait_until(engine, lambda connection: vector(connection, encoder.key) is not None)
    wait_until(engine, lambda connection: vector(connection, KEY) is not None)
    with engine.begin() as connection:
        expected = encoder.encode([written])[0]
        stored = vector(connection, encoder.key)
        assert stored is not None
        np.testing.assert_allclose(stored, expected, atol=1e-4)


def test_old_vectors_are_removed(engine: Engine) -> None:
    with engine.begin() as connection:
        store_item(connection, "A lamp")
        request_vectors(connection, KEY, ["new"])
        requested_at = connection.execute(select(ItemVector.wanted_at)).scalar_one()
        assert delete_old_vectors(connection, requested_at) == 0
        assert delete_old_vectors(connection, pd.Timestamp.now("UTC").to_pydatetime()) == 1


def test_the_encoder_leaves_memory_when_idle_and_returns_for_a_new_item(postgres_url: str, tmp_path: Path) -> None:
    with fresh_database(postgres_url) as database, running_encoder(database, tmp_path, MULTILINGUAL, 2) as log:
        engine = make_engine(database)
        eventually(lambda: "the encoder leaves memory" in log.read_text(), 60)
        with engine.begin() as connection:
            store_item(connection, "A lamp")
            request_vectors(connection, KEY, ["new"])
        wait_until(engine, lambda connection: vector(connection) is not None)
        assert log.read_text().count("ready: new items get vectors") == 2
        engine.dispose()
