"""Toy bundles and histories: random items, and a chessboard whose squares are items."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse
from sqlalchemy import Engine

from benchmarks.catalogues import summing_tower
from components.arrays.sparse import Csr
from components.bundle.bundle import Bundle
from components.datasets.sources import Dataset
from components.ingestion.clean import clean_events, clean_items
from components.settings import EventSettings, InterestSettings, Settings
from components.store.engine import make_engine
from components.store.load import append_events, upsert_items
from tests.support.loading import ingest

WORDS = ("lamp", "chair", "table", "kettle", "radio", "novel", "puzzle", "scarf", "drum", "globe")
CATEGORIES = ("home", "play", "wear")


def as_scipy(matrix: Csr) -> sparse.csr_matrix:
    return sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)


def tiny_bundle(items: int = 40, *, seed: int = 0, cut: str = "2024-06-01T00:00:00+00:00") -> Bundle:
    """A complete bundle of items i0, i1, … in three categories, with random vectors and a real ONNX user tower."""
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
        tower=summing_tower(width),
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
    """Stores a bundle's items in Postgres, and users u0, u1, … who each liked five of them within the last day."""
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
    """64 items in the categories black and white; vectors, texts and neighbours encode the colour, with noise."""
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
    """Stores the bundle's items and each user's events (item, event, days before `now`) in Postgres."""
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
