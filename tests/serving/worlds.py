"""A chessboard whose squares are items: people like black squares, or white ones."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import psutil
import psycopg
import pyarrow as pa
from scipy import sparse

from components.bundle import Bundle
from components.settings import EventSettings
from components.store.clean import clean_events, clean_items
from components.store.engine import make_engine
from components.store.load import append_events, upsert_items
from tests.worlds import free_port, tiny_bundle, wait_for

ROOT = Path(__file__).parents[2]
SIDE = 8
SQUARES = [(file, rank) for rank in range(SIDE) for file in range(SIDE)]
NAMES = [f"{'abcdefgh'[file]}{rank + 1}" for file, rank in SQUARES]
BLACK = np.array([(file + rank) % 2 == 0 for file, rank in SQUARES])
COLOURS = np.where(BLACK, "black", "white")
DAY = 86_400.0


def squares(colour: str) -> list[str]:
    """The ids of all squares of a colour."""
    return [name for name, found in zip(NAMES, COLOURS, strict=True) if found == colour]


def chessboard() -> Bundle:
    """64 items in the categories black and white; vectors, texts and neighbours know the colour, and a bit of noise."""
    random = np.random.default_rng(7)
    plain = tiny_bundle(len(NAMES))
    side = np.where(BLACK, 1.0, -1.0)[:, None]
    vectors = 0.3 * random.normal(size=plain.vectors.shape)
    vectors[:, :1] += side
    texts = 0.3 * random.normal(size=plain.texts.shape)
    texts[:, :1] += side
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    same = (BLACK[:, None] == BLACK[None, :]) & ~np.eye(len(NAMES), dtype=bool)
    near = same * random.uniform(0, 0.2, size=same.shape)
    terms = ["black", "white", *(f"row {rank + 1}" for rank in range(SIDE))]
    words = np.zeros((len(NAMES), len(terms)), dtype=np.float32)
    words[np.arange(len(NAMES)), np.where(BLACK, 0, 1)] = 1.0
    words[np.arange(len(NAMES)), [2 + rank for _, rank in SQUARES]] = 0.5
    columns = {
        "item_id": NAMES,
        "title": [f"{colour.capitalize()} square {name}" for name, colour in zip(NAMES, COLOURS, strict=True)],
        "category": [[colour] for colour in COLOURS],
        "available": [True] * len(NAMES),
        "published_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(NAMES), pa.timestamp("us", "UTC")),
        "popularity": random.integers(1, 100, len(NAMES)),
        "recent": random.integers(0, 10, len(NAMES)),
        "trained": [True] * len(NAMES),
    }
    return replace(
        plain,
        items=pa.table(columns),
        vectors=vectors.astype(np.float32),
        texts=texts.astype(np.float32),
        neighbours=sparse.csr_matrix(near.astype(np.float32)),
        keywords=sparse.csr_matrix(words),
        terms=terms,
        manifest=plain.manifest | {"model_version": "7"},
    )


def load(
    url: str, bundle: Bundle, histories: dict[str, list[tuple[str, str, float]]], now: datetime | None = None
) -> None:
    """Puts the bundle's items and each user's events (item, event, days ago) into Postgres, by the clock `now`."""
    now = now or datetime.now(UTC)
    items = bundle.items.select(["item_id", "title", "category", "available"]).to_pylist()
    events = [
        {"user_id": user, "item_id": item, "event": event, "timestamp": now.timestamp() - days * DAY}
        for user, history in histories.items()
        for item, event, days in history
    ]
    cleaned = clean_events(
        events, source="test", settings=EventSettings(), known_items={item["item_id"] for item in items}, now=now
    )
    assert not cleaned.rejected
    engine = make_engine(url)
    with engine.begin() as connection:
        upsert_items(connection, clean_items(items, source="test").rows)
        append_events(connection, cleaned.rows)
    engine.dispose()


def stored(url: str, query: str, *parameters: object) -> list[tuple[object, ...]]:
    """The rows that Postgres holds, read past the service."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def soon_stored(url: str, query: str, *parameters: object, seconds: float = 10.0) -> list[tuple[object, ...]]:
    """The rows of `stored`, once there are any: impressions are written a moment after the answer."""
    end = time.monotonic() + seconds
    while not (rows := stored(url, query, *parameters)):
        assert time.monotonic() < end, f"no rows within {seconds:g} s: {query}"
        time.sleep(0.02)
    return rows


@contextmanager
def postgres_home() -> Iterator[Path]:
    """A folder that Postgres' unprivileged user can reach."""
    home = Path(tempfile.mkdtemp(prefix="duotempo-test-", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def bento(folder: Path, url: str, **settings: str) -> Iterator[str]:
    """The address of a real Bento in a process of its own, its bundle in `folder`; `settings` are more variables."""
    with mortal_bento(folder, url, **settings) as (address, _):
        yield address


@contextmanager
def mortal_bento(folder: Path, url: str, **settings: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """As `bento`, with a function that kills its processes on the spot (SIGKILL)."""
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Duotempo", "--host", "127.0.0.1"]
    environment = os.environ | {
        "DUOTEMPO_BUNDLES": str(folder),
        "DUOTEMPO_DATABASE_URL": url,
        "DUOTEMPO_HOME": str(folder / "home"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    with (folder / "bento.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--working-dir", str(ROOT)],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/livez", server)
            yield address, lambda: _kill(server)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                _kill(server)


def _kill(server: subprocess.Popen[bytes]) -> None:
    """With its worker, which has a session of its own."""
    workers = psutil.Process(server.pid).children(recursive=True)
    os.killpg(server.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers)
    server.wait()


def wait_until_ready(address: str, seconds: float = 60.0) -> None:
    """Until /readyz says 200; what is missing is told when it takes too long."""
    end = time.monotonic() + seconds
    while (answer := httpx.get(f"{address}/readyz", timeout=10)).status_code != 200:
        assert time.monotonic() < end, answer.text
        time.sleep(0.05)
