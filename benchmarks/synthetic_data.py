"""Synthetic data: a bundle of any size with random weights, and users with random events."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import sparse
from sqlalchemy import Engine

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.fusion.export import export_user_tower
from components.fusion.model import FusionModel
from components.ingestion.clean import clean_events, clean_items
from components.settings import Settings
from components.store.load import append_events, upsert_items

DIMENSION = 384
"""Dimension of the packaged encoder."""
CATEGORIES = 40
WORDS = 2000
ZIPF = 1.1


def random_bundle(items: int, settings: Settings, seed: int = 0) -> Bundle:
    """A bundle of `items` items whose shapes follow the settings; all values are random."""
    random = np.random.default_rng(seed)
    width = settings.fusion.width
    torch.manual_seed(seed)
    texts = _unit(random.normal(size=(items, DIMENSION)).astype(np.float32))
    means, whitening = torch.zeros(2, DIMENSION), torch.eye(DIMENSION)[:, :128]
    model = FusionModel(
        settings.fusion, torch.zeros(8, 128), torch.ones(8, dtype=torch.bool), (means, whitening),
        settings.interests.half_life_days,
    )  # fmt: skip
    neighbours = min(settings.ranking.neighbours, items - 1)
    columns = random.integers(0, items, (items, neighbours)).astype(np.int32)
    weights = random.uniform(0, 0.05, (items, neighbours)).astype(np.float32)
    starts = np.arange(0, items * neighbours + 1, neighbours, dtype=np.int64)
    terms = [f"word{n}" for n in range(WORDS)]
    words = random.integers(0, WORDS, (items, 4))
    return Bundle(
        items=pa.table(
            {
                "item_id": item_ids(items),
                "title": [f"Thing {n} of the shop" for n in range(items)],
                "category": [[f"category {n % CATEGORIES}"] for n in range(items)],
                "available": [True] * items,
                "published_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * items, pa.timestamp("us", "UTC")),
                "popularity": _zipf(items),
                "recent": _zipf(items) // 10,
                "trained": [True] * items,
            }
        ),
        vectors=random.normal(size=(items, width)).astype(np.float32),
        texts=texts,
        neighbours=sparse.csr_matrix((weights.ravel(), columns.ravel(), starts), (items, items)),
        keywords=sparse.csr_matrix(
            (np.ones(words.size, np.float32), words.ravel(), np.arange(0, words.size + 1, 4)), (items, WORDS)
        ),
        terms=terms,
        text_mean=np.zeros(DIMENSION, np.float32),
        text_matrix=np.eye(DIMENSION, width, dtype=np.float32),
        tower=export_user_tower(model.user, width, DIMENSION),
        manifest={
            "model_version": "1",
            "encoder": "drawn",
            "dimension": DIMENSION,
            "cut": datetime.now(UTC).isoformat(),
            "mixture": {"collaborative": 1.0, "popularity": 0.1, "recent": 0.1},
            "recency": settings.ranking.recency,
            "half_life_days": settings.interests.half_life_days,
            "history": settings.ranking.history,
            "events": settings.events.model_dump(mode="json"),
            "interests": settings.interests.model_dump(mode="json"),
        },
    )


def write_synthetic_shop(
    folder: Path, bundle: Bundle, engine: Engine, settings: Settings, *, users: int, events: int
) -> None:
    """Writes the bundle into `folder`, and its items and the users' events of the last three weeks into Postgres.

    Args:
        users: Number of users.
        events: Number of events per user.
    """
    bundle.write(folder)
    random = np.random.default_rng(1)
    now = datetime.now(UTC)
    item_id_list = bundle.items["item_id"].to_pylist()
    with engine.begin() as connection:
        for start in range(0, len(item_id_list), 100_000):
            items = bundle.items.slice(start, 100_000).select(["item_id", "title", "category", "available"])
            upsert_items(connection, clean_items(items.to_pylist(), source="bench").rows)
        for raw in _histories(random, item_id_list, users, events, now):
            cleaned = clean_events(
                raw, source="bench", settings=settings.events, known_items=set(item_id_list), now=now
            )
            append_events(connection, cleaned.rows)


def user_ids(users: int) -> list[str]:
    return [f"user-{n}" for n in range(users)]


def item_ids(items: int) -> list[str]:
    return [f"item-{n}" for n in range(items)]


def zipf_sample(random: np.random.Generator, count: int, draws: int) -> NDArray[np.int64]:
    """Random integers (draws,) in [0, count); number n - 1 has a probability proportional to 1 / n^ZIPF."""
    weights = 1.0 / np.arange(1, count + 1) ** ZIPF
    return random.choice(count, size=draws, p=weights / weights.sum())


def _histories(
    random: np.random.Generator, items: list[str], users: int, events: int, now: datetime
) -> Iterator[list[dict[str, object]]]:
    for start in range(0, users, 1000):
        names = user_ids(users)[start : start + 1000]
        rows = len(names) * events
        newest = now - timedelta(days=1)
        item_rows = zipf_sample(random, len(items), rows).tolist()
        ages = random.uniform(0, 20 * 86_400, rows).tolist()
        yield [
            {
                Columns.USER: names[row // events],
                Columns.ITEM: items[item_rows[row]],
                Columns.EVENT: "click",
                Columns.TIMESTAMP: newest.timestamp() - ages[row],
            }
            for row in range(rows)
        ]


def _zipf(items: int) -> NDArray[np.int64]:
    return (1e5 / np.arange(1, items + 1) ** ZIPF).astype(np.int64) + 1


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
