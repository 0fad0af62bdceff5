"""Feedback rows stored per second, against a bare COPY of the same rows.

Both use the same number of connections and batches of 100, each committed before the next. The service validates,
deduplicates, maintains its indexes and answers over HTTP; COPY fills a table without indexes.
"""

import json
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql
from tqdm import tqdm

from benchmarks.doc_tables import table, write_between
from benchmarks.load import Load, apply_load
from benchmarks.provenance import ROOT, provenance
from benchmarks.services import DUOTEMPO, service, synthetic_shop
from benchmarks.synthetic_data import item_ids, random_bundle, user_ids
from components.ingestion.clean import clean_events
from components.settings import EventSettings, Settings
from components.store.rows import EventRow

PAGE = ROOT / "docs" / "performance.md"
MARKER = "feedback"
FEEDBACK = "/feedback"
ITEMS, USERS, EVENTS = 1_000, 5_000, 10
BATCH, BATCHES = 100, 6_000
CONNECTIONS = 16
SECONDS, WARM_UP_SECONDS = 8.0, 3.0
ROUNDS = 3
"""Runs of each, interleaved. The best one counts: other load on the machine can only slow a run down."""


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises BenchError if a service fails."""
    with synthetic_shop(random_bundle(ITEMS, settings), settings, users=USERS, events=EVENTS) as (_, url):
        figures = measure(url)
    write_between(page, MARKER, report(figures))
    return figures


def measure(url: str) -> dict[str, float]:
    loads: list[Load] = []
    copied: list[float] = []
    with tqdm(total=2 * ROUNDS, desc="feedback") as bar, service(DUOTEMPO) as (port, _):
        send = partial(apply_load, port, connections=CONNECTIONS, timed=FEEDBACK)
        for number in range(ROUNDS):
            send(_requests(draw_batches(number, 0)), seconds=WARM_UP_SECONDS)
            batches = draw_batches(number, 1)
            loads.append(send(_requests(batches), seconds=SECONDS))
            bar.update()
            copied.append(copy_rate(url, batches))
            bar.update()
    best = max(loads, key=lambda load: load.rate)
    return {
        "rows_per_s": BATCH * best.rate,
        "copy_rows_per_s": max(copied),
        "p50_ms": 1000 * best.p50,
        "p99_ms": 1000 * best.p99,
        "failed": sum(load.failed for load in loads),
    }


def draw_batches(*seed: int) -> list[list[dict[str, object]]]:
    random = np.random.default_rng(seed)
    users, items = user_ids(USERS), item_ids(ITEMS)
    user_rows, item_rows = random.integers(0, USERS, (BATCHES, BATCH)), random.integers(0, ITEMS, (BATCHES, BATCH))
    now = time.time()
    return [
        [
            {"event_id": uuid.uuid4().hex, "user_id": users[u], "item_id": items[i], "event": "click", "timestamp": now}
            for u, i in zip(row_users, row_items, strict=True)
        ]
        for row_users, row_items in zip(user_rows, item_rows, strict=True)
    ]


def copy_rate(url: str, batches: Sequence[Sequence[dict[str, object]]]) -> float:
    """Rows per second of COPY, with a commit after each batch."""
    now = datetime.now(UTC)
    item_set = set(item_ids(ITEMS))
    rows = [
        clean_events(batch, source="feedback", settings=EventSettings(), known_items=item_set, now=now).rows
        for batch in batches
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute("CREATE TABLE bare (LIKE events)")
        connection.execute("ALTER TABLE bare ALTER received_at DROP NOT NULL")
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        started = time.perf_counter()
        done = sum(pool.map(lambda part: _copy(url, rows[part::CONNECTIONS], started + SECONDS), range(CONNECTIONS)))
        return done / (time.perf_counter() - started)


def _copy(url: str, batches: Sequence[Sequence[EventRow]], end: float) -> int:
    columns = sql.SQL(", ").join(map(sql.Identifier, EventRow._fields))
    done = 0
    with psycopg.connect(url) as connection:
        for batch in batches:
            with connection.cursor().copy(sql.SQL("COPY bare ({}) FROM STDIN").format(columns)) as copy:
                for row in batch:
                    copy.write_row(row)
            connection.commit()
            done += len(batch)
            if time.perf_counter() > end:
                break
    return done


def _requests(batches: Sequence[Sequence[dict[str, object]]]) -> list[tuple[str, str]]:
    return [(FEEDBACK, json.dumps({"events": batch})) for batch in batches]


def report(figures: dict[str, float]) -> str:
    ratio = figures["rows_per_s"] / figures["copy_rows_per_s"]
    rows = [
        ["rows per second: COPY, one commit per batch", f"{figures['copy_rows_per_s']:,.0f}", ""],
        ["**rows per second: Duotempo, over HTTP**", f"**{figures['rows_per_s']:,.0f}**", f"{ratio:.2f} x COPY"],
        ["latency of a batch: p50, p99", f"{figures['p50_ms']:.1f} ms, {figures['p99_ms']:.1f} ms", ""],
        ["failed requests of Duotempo", f"{figures['failed']:.0f}", ""],
    ]
    note = f"Batches of {BATCH}, {CONNECTIONS} connections, the best of {ROUNDS} runs of {SECONDS:.0f} s."
    return f"{provenance('feedback')} {note}\n\n{table(['what', 'measured', 'ratio'], rows)}"
