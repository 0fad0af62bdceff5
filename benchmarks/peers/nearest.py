"""`python -m benchmarks.peers.nearest`: comparison of approximate nearest neighbour libraries.

Item vectors come from `benchmarks.catalogues`, each query is the sum of five of them. Queries run one at a time,
without a filter and with one that keeps a tenth of the items. The results are rescored exactly, and the top ten
compared with the exact top ten. Needs `pip install usearch`; pgvector comes with the embedded Postgres.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from benchmarks.catalogues import clustered_bundle
from benchmarks.database import temporary_database
from benchmarks.doc_tables import table, write_between
from benchmarks.provenance import ROOT, sentence
from components.arrays.ann import NearestItems
from components.ranking.candidates import MIN_CANDIDATES
from components.ranking.filters import best_first

PAGE = ROOT / "docs" / "performance.md"
MARKER = "nearest"
K, QUERIES = 10, 200
GRAPH_CANDIDATES = (100, 1_000)
"""Candidates requested from a graph index: more cost time, fewer cost recall."""
FILTERED_SHARE = 0.1
"""Share of the items that the filter keeps."""
Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]
Search = Callable[[Vectors, int, bool], NDArray[np.int64]]
"""Rows of the nearest items of a vector (dims,), at most so many, with the filter or without."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    items = parser.parse_args().items
    vectors = clustered_bundle(items).vectors
    random = np.random.default_rng(2)
    users = vectors[random.integers(0, items, (QUERIES, 5))].sum(axis=1)
    mask = random.random(items) < FILTERED_SHARE
    rows = []
    for build, counts in ((faiss, (MIN_CANDIDATES,)), (usearch, GRAPH_CANDIDATES), (pgvector, GRAPH_CANDIDATES)):
        with temporary_database() as url:
            started = time.perf_counter()
            search, size = build(vectors, mask, url)
            built = time.perf_counter() - started
            for count in counts:
                plain = measure(search, vectors, users, count, np.ones(items, dtype=bool), filtered=False)
                filtered = measure(search, vectors, users, count, mask, filtered=True)
                rows.append([f"{build.__name__}, {count:,} requested", *plain, *filtered, f"{built:.0f}",
                             f"{size / items:.0f}"])  # fmt: skip
    header = ["library", "recall@10", "ms", "recall@10, filtered to a tenth", "ms", "build, s", "bytes per item"]
    command = sentence(f"python -m benchmarks.peers.nearest --items {items}")
    note = (
        f"{items:,} items, {vectors.shape[1]} dimensions, {QUERIES} queries, median times; "
        "bytes in addition to the vectors."
    )
    write_between(PAGE, MARKER, f"{command} {note}\n\n{table(header, rows)}")


def measure(
    search: Search, vectors: Vectors, users: Vectors, count: int, mask: Mask, *, filtered: bool
) -> tuple[str, str]:
    """(recall@10, median milliseconds per query), formatted."""
    shares, times, rows = [], [], np.flatnonzero(mask)
    for user in users:
        started = time.perf_counter()
        nearest = search(user, count, filtered)
        nearest = nearest[best_first(vectors[nearest] @ user, K)]
        times.append(time.perf_counter() - started)
        shares.append(np.isin(rows[best_first(vectors[rows] @ user, K)], nearest).mean())
    return f"{np.mean(shares):.3f}", f"{1000 * np.median(times):.2f}"


def faiss(vectors: Vectors, mask: Mask, url: str) -> tuple[Search, int]:
    index, everything = NearestItems.build(len(vectors), lambda rows: vectors[rows]), np.ones_like(mask)
    bytes_an_item = vectors.shape[1] // 4 + 8

    def search(user: Vectors, count: int, filtered: bool) -> NDArray[np.int64]:
        return index.search(user, count, mask if filtered else everything)

    return search, bytes_an_item * len(vectors)


def usearch(vectors: Vectors, mask: Mask, url: str) -> tuple[Search, int]:
    """HNSW with half precision. Its Python API has no filter, so more results are requested and filtered afterwards."""
    index: Any = import_module("usearch.index").Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
    index.add(np.arange(len(vectors)), vectors)

    def search(user: Vectors, count: int, filtered: bool) -> NDArray[np.int64]:
        keys = index.search(user, int(count / FILTERED_SHARE) if filtered else count).keys.astype(np.int64)
        return keys[mask[keys]] if filtered else keys

    return search, int(index.memory_usage)


def pgvector(vectors: Vectors, mask: Mask, url: str) -> tuple[Search, int]:
    """HNSW with half precision, the filter as a column, and iterative scans until enough rows match."""
    connection = psycopg.connect(url, autocommit=True)
    create = "CREATE TABLE items_near (row int PRIMARY KEY, fits boolean, vector halfvec({}))"
    connection.execute(sql.SQL(create).format(sql.Literal(vectors.shape[1])))
    with connection.cursor().copy("COPY items_near FROM STDIN") as copy:
        for row, (fits, vector) in enumerate(zip(mask.tolist(), vectors, strict=True)):
            copy.write_row((row, fits, json.dumps(vector.round(4).tolist())))
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute("CREATE INDEX ON items_near USING hnsw (vector halfvec_ip_ops)")
    connection.execute("SET hnsw.iterative_scan = 'relaxed_order'")
    size = connection.execute("SELECT pg_relation_size('items_near_vector_idx')").fetchone()

    @lru_cache(maxsize=1)
    def set_ef_search(count: int) -> None:
        connection.execute(sql.SQL("SET hnsw.ef_search = {}").format(sql.Literal(count)))

    def search(user: Vectors, count: int, filtered: bool) -> NDArray[np.int64]:
        set_ef_search(count)
        where = sql.SQL("WHERE fits" if filtered else "")
        query = sql.SQL("SELECT row FROM items_near {} ORDER BY vector <#> %s::halfvec LIMIT {}")
        rows = connection.execute(query.format(where, sql.Literal(count)), [json.dumps(user.tolist())]).fetchall()
        return np.array([row for (row,) in rows], dtype=np.int64)

    return search, size[0] if size else 0


if __name__ == "__main__":
    main()
