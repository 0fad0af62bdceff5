"""Small worlds that several tests share."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse
from sqlalchemy import Engine

from benchmarks.catalogues import adding_tower
from components.bundle import Bundle
from components.datasets.sources import Dataset
from components.ranking.sparse import Csr
from components.settings import EventSettings, InterestSettings, Settings
from components.store.ingest import ingest

WORDS = ("lamp", "chair", "table", "kettle", "radio", "novel", "puzzle", "scarf", "drum", "globe")
CATEGORIES = ("home", "play", "wear")


def as_scipy(matrix: Csr) -> sparse.csr_matrix:
    return sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)


def tiny_bundle(items: int = 40, *, seed: int = 0, cut: str = "2024-06-01T00:00:00+00:00") -> Bundle:
    """A whole bundle of `items` items i0, i1, … in three categories, its vectors random, its user tower real ONNX."""
    random = np.random.default_rng(seed)
    width, dimension = 8, 12
    texts = random.normal(size=(items, dimension)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    neighbours = sparse.random(items, items, density=0.2, random_state=random, format="csr", dtype=np.float32)
    keywords = sparse.csr_matrix(
        (np.ones(items, dtype=np.float32), (np.arange(items), np.arange(items) % len(WORDS))), (items, len(WORDS))
    )
    return Bundle(
        items=pa.table(
            {
                "item_id": [f"i{n}" for n in range(items)],
                "title": [f"{WORDS[n % len(WORDS)]} {n}" for n in range(items)],
                "category": [[CATEGORIES[n % len(CATEGORIES)]] for n in range(items)],
                "available": [True] * items,
                "published_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * items, pa.timestamp("us", "UTC")),
                "popularity": random.integers(1, 100, items),
                "recent": random.integers(0, 10, items),
                "trained": [True] * items,
            }
        ),
        vectors=random.normal(size=(items, width)).astype(np.float32),
        texts=texts,
        neighbours=neighbours,
        keywords=keywords,
        terms=list(WORDS),
        text_mean=np.zeros(dimension, dtype=np.float32),
        text_matrix=random.normal(size=(dimension, width)).astype(np.float32),
        tower=adding_tower(width),
        manifest={
            "encoder": "tiny",
            "dimension": dimension,
            "cut": cut,
            "mixture": {"collaborative": 0.5, "popularity": 0.1, "recent": 0.1},
            "half_life_days": 60.0,
            "recency": 0.9,
            "events": EventSettings().model_dump(mode="json"),
            "interests": InterestSettings().model_dump(mode="json"),
            "history": 100,
        },
    )


def fill_store(engine: Engine, bundle: Bundle, users: int = 4) -> None:
    """Puts the items of a bundle into Postgres, and users u0, u1, … who each liked five of them within the last day."""
    now = datetime.now(UTC)
    columns = bundle.items.select(["item_id", "title"]).to_pandas()
    columns["category"] = ["|".join(names) for names in bundle.items["category"].to_pylist()]
    seen = [(user, item) for user in range(users) for item in range(5)]
    events = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in seen],
            "item_id": [f"i{(3 * user + item) % len(columns)}" for user, item in seen],
            "timestamp": [(now - timedelta(hours=24 - 2 * item)).timestamp() for _, item in seen],
            "event": "like",
            "value": np.nan,
        }
    )
    ingest(engine, Dataset("tiny", events, columns, ("title", "category")), Settings(), source="tiny", now=now)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a real MLflow server that keeps its state in `folder` (SQLite)."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", server)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Waits until `url` answers 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server of {url} ended with {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds} s")
