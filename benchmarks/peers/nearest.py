"""`python -m benchmarks.peers.nearest`: what may find the nearest items of a large catalogue, side by side.

Item vectors as `benchmarks.catalogues` draws them, asked by users' vectors, without a filter and behind one that leaves
a tenth of the items: recall of the best ten, milliseconds a question, seconds to build, bytes an item. Needs
`pip install usearch`; pgvector comes with the embedded Postgres.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from benchmarks.catalogues import clustered_bundle
from benchmarks.database import temporary_database
from benchmarks.pages import table
from components.ranking.filters import best_first
from components.ranking.nearest import NearestItems

K, ASKED, BREADTH = 10, 200, 2_000
LEFT = 0.1
"""Share of the items that the filter leaves."""
Search = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    vectors = clustered_bundle(parser.parse_args().items).vectors
    random = np.random.default_rng(2)
    chosen = random.integers(0, len(vectors), (ASKED, 5))
    users = vectors[chosen].sum(axis=1)
    mask = random.random(len(vectors)) < LEFT
    rows = []
    with temporary_database() as url:
        for name, build in (("faiss", _faiss), ("usearch", _usearch), ("pgvector", lambda v: _pgvector(v, url))):
            began = time.perf_counter()
            search, size = build(vectors)
            built = time.perf_counter() - began
            plain, filtered = (_measure(search, vectors, users, one) for one in (None, mask))
            rows.append([
                name, f"{plain[0]:.3f}", f"{plain[1]:.2f}", f"{filtered[0]:.3f}", f"{filtered[1]:.2f}", f"{built:.0f}",
                f"{size / len(vectors):.0f}",
            ])  # fmt: skip
    header = ["library", "recall@10", "ms", "recall@10, a tenth left", "ms", "build s", "bytes an item"]
    print(table(header, rows))


def _measure(search: Search, vectors: np.ndarray, users: np.ndarray, mask: np.ndarray | None) -> tuple[float, float]:
    """(recall@10, median ms)."""
    shares, times = [], []
    rows = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)
    for user in users:
        began = time.perf_counter()
        found = search(user, mask)
        found = found[best_first(vectors[found] @ user, K)]
        times.append(time.perf_counter() - began)
        shares.append(np.isin(rows[best_first(vectors[rows] @ user, K)], found).mean())
    return float(np.mean(shares)), 1000 * float(np.median(times))


def _faiss(vectors: np.ndarray) -> tuple[Search, int]:
    index = NearestItems.build(len(vectors), lambda rows: vectors[rows])
    everything = np.ones(len(vectors), dtype=bool)
    bytes_an_item = vectors.shape[1] // 4 + 8
    return lambda user, mask: index.search(user, BREADTH, everything if mask is None else mask), (
        bytes_an_item * len(vectors)
    )


def _usearch(vectors: np.ndarray) -> tuple[Search, int]:
    """HNSW with numbers of 8 bits. It takes no filter: enough is asked for that a tenth of it is as much."""
    index: Any = import_module("usearch.index").Index(ndim=vectors.shape[1], metric="ip", dtype="i8")
    index.add(np.arange(len(vectors)), vectors, threads=0)

    def search(user: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        count = K * 10 if mask is None else int(K * 10 / LEFT)
        keys = index.search(user, count).keys.astype(np.int64)
        return keys if mask is None else keys[mask[keys]]

    return search, int(index.memory_usage)


def _pgvector(vectors: np.ndarray, url: str) -> tuple[Search, int]:
    """HNSW with half precision, the filter as a column, and scans that go on until enough is found."""
    connection = psycopg.connect(url, autocommit=True)
    create = "CREATE TABLE items_near (row int PRIMARY KEY, fits boolean, vector halfvec({}))"
    connection.execute(sql.SQL(create).format(sql.Literal(vectors.shape[1])))
    mask = np.random.default_rng(2)
    mask.integers(0, len(vectors), (ASKED, 5))
    fits = mask.random(len(vectors)) < LEFT
    with connection.cursor().copy("COPY items_near FROM STDIN") as copy:
        for row, vector in enumerate(vectors):
            copy.write_row((row, bool(fits[row]), json.dumps(vector.round(4).tolist())))
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute("CREATE INDEX ON items_near USING hnsw (vector halfvec_ip_ops)")
    connection.execute("SET hnsw.ef_search = 100")
    connection.execute("SET hnsw.iterative_scan = 'relaxed_order'")
    size = connection.execute("SELECT pg_relation_size('items_near_vector_idx')").fetchone()

    def search(user: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        where = sql.SQL("" if mask is None else "WHERE fits")
        query = sql.SQL("SELECT row FROM items_near {} ORDER BY vector <#> %s::halfvec LIMIT 100").format(where)
        found = connection.execute(query, [json.dumps(user.tolist())]).fetchall()
        return np.array([row for (row,) in found], dtype=np.int64)

    return search, size[0] if size else 0


if __name__ == "__main__":
    main()
