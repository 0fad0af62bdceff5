"""Synthetic catalogues of any size with realistic structure: clustered items, Zipf popularity, item-item neighbours.

Nothing is trained: the user tower sums the vectors of the history.
"""

from datetime import UTC, datetime

import numpy as np
import onnx
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy import sparse

from components.arrays.sparse import select_rows
from components.bundle.bundle import Bundle
from components.histories.states import SECONDS_A_DAY, UserState
from components.settings import EventSettings, InterestSettings

CUT = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS = 40
"""Groups that the clusters belong to."""
NEIGHBOURS = 20
"""Neighbours per item."""
WORDS, WORDS_PER_ITEM = 20_000, 5
VISITS, FOLLOWED = 4, 5
"""Start items per history, and items per start item: itself and some of its neighbours."""
CHUNK = 100_000
BLENDING_WEIGHTS = {"collaborative": 2.0, "popularity": 0.3, "recent": 0.3}


def clustered_bundle(size: int, width: int = 128, seed: int = 0) -> Bundle:
    """A bundle of `size` items with `width`-dimensional item and text vectors; each cluster is a category."""
    random = np.random.default_rng(seed)
    clusters = max(2, int(2 * np.sqrt(size)))
    shares = 1 / np.arange(1, clusters + 1) ** 0.7
    cluster = random.choice(clusters, size, p=shares / shares.sum()).astype(np.int32)
    popularity = np.minimum(random.zipf(1.6, size), 1_000_000)
    words = random.integers(0, WORDS, (size, WORDS_PER_ITEM), dtype=np.int32)
    ends = np.arange(size + 1, dtype=np.int32)
    return Bundle(
        items=pa.table(
            {
                "item_id": [f"i{row}" for row in range(size)],
                "title": [f"Item {row} of cluster {name}" for row, name in enumerate(cluster)],
                "category": pa.ListArray.from_arrays(pa.array(ends), pa.array([f"cluster {name}" for name in cluster])),
                "available": np.ones(size, dtype=bool),
                "published_at": pa.array(np.full(size, CUT.timestamp() * 1e6, np.int64)).cast(
                    pa.timestamp("us", "UTC")
                ),
                "popularity": popularity,
                "recent": random.poisson(np.minimum(popularity / 20, 1_000)),
                "trained": np.ones(size, dtype=bool),
            }
        ),
        vectors=_item_vectors(cluster, clusters, width, random),
        texts=_unit(_item_vectors(cluster, clusters, width, random)),
        neighbours=_neighbours(cluster, random),
        keywords=sparse.csr_matrix(
            (np.ones(words.size, np.float32), words.ravel(), WORDS_PER_ITEM * ends), shape=(size, WORDS)
        ),
        terms=[f"word {number}" for number in range(WORDS)],
        text_mean=np.zeros(width, dtype=np.float32),
        text_matrix=np.eye(width, dtype=np.float32),
        tower=summing_tower(width),
        manifest={
            "encoder": "none",
            "dimension": width,
            "cut": CUT.isoformat(),
            "mixture": BLENDING_WEIGHTS,
            "half_life_days": 60.0,
            "recency": 0.9,
            "events": EventSettings().model_dump(mode="json"),
            "interests": InterestSettings().model_dump(mode="json"),
            "history": 100,
        },
    )


def visitors(bundle: Bundle, count: int, seed: int = 1) -> list[UserState]:
    """`count` users, each with VISITS random start items, each followed by up to FOLLOWED - 1 of its neighbours."""
    random = np.random.default_rng(seed)
    now = CUT.timestamp()
    states = []
    for _ in range(count):
        rows: list[int] = []
        for start in random.integers(0, bundle.items.num_rows, VISITS):
            follow = select_rows(bundle.neighbours, np.array([start])).indices
            rows += [start, *random.choice(follow, min(FOLLOWED - 1, len(follow)), replace=False)]
        items = np.array(rows, dtype=np.int64)
        times = now - SECONDS_A_DAY * np.sort(random.exponential(30, len(items)))[::-1]
        states.append(UserState(items, times, np.ones(len(items), dtype=np.float32), now))
    return states


def summing_tower(width: int) -> bytes:
    """ONNX user tower without weights: long = signal-weighted sum of the history, short = its last vector."""
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["B", "H", width])
    signals = helper.make_tensor_value_info("signals", TensorProto.FLOAT, ["B", "H"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", width]) for name in ("long", "short")]
    numbers = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("last", -1), ("end", 2**31 - 1), ("time", 1))
    ]
    nodes = [
        helper.make_node("Unsqueeze", ["signals", "last"], ["weights"]),
        helper.make_node("Mul", ["vectors", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "time"], ["long"], keepdims=0),
        helper.make_node("Slice", ["weighted", "last", "end", "time"], ["newest"]),
        helper.make_node("Squeeze", ["newest", "time"], ["short"]),
    ]
    graph = helper.make_graph(nodes, "user_tower", [vectors, signals], outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _item_vectors(
    cluster: NDArray[np.int32], clusters: int, width: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Vectors (items, width): group centre + cluster offset + item noise, scaled by a log-normal length."""
    centres = 0.8 * random.normal(size=(GROUPS, width))[random.integers(0, GROUPS, clusters)]
    centres += 0.6 * random.normal(size=(clusters, width))
    points = np.empty((len(cluster), width), dtype=np.float32)
    for start in range(0, len(cluster), CHUNK):
        part = slice(start, start + CHUNK)
        noise = 0.7 * random.normal(size=points[part].shape)
        lengths = random.lognormal(0, 0.15, (len(noise), 1)) / np.sqrt(width)
        points[part] = (centres[cluster[part]] + noise) * lengths
    return points


def _unit(points: NDArray[np.float32]) -> NDArray[np.float32]:
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _neighbours(cluster: NDArray[np.int32], random: np.random.Generator) -> sparse.csr_matrix:
    """Weights (items, items) of at most NEIGHBOURS random items of the same cluster; fewer in a small cluster."""
    size = len(cluster)
    order = np.argsort(cluster, kind="stable")
    counts = np.bincount(cluster)
    first = (np.cumsum(counts) - counts)[cluster]
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    steps = random.integers(1, np.maximum(counts, 2)[cluster][:, None], (size, NEIGHBOURS))
    columns = order[first[:, None] + ((place - first)[:, None] + steps) % counts[cluster][:, None]]
    weights = random.uniform(0, 0.1, columns.shape).astype(np.float32)
    ends = NEIGHBOURS * np.arange(size + 1)
    matrix = sparse.csr_matrix((weights.ravel(), columns.ravel().astype(np.int32), ends), shape=(size, size))
    matrix.sum_duplicates()
    return matrix
