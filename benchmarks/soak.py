"""Memory of the service over as many requests as an hour brings at 50 per second.

Nine of ten requests are recommendations, one is feedback; there are far more users than the cache holds.
"""

import json
import uuid
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.doc_tables import table, write_between
from benchmarks.load import apply_load
from benchmarks.provenance import ROOT, provenance
from benchmarks.services import DUOTEMPO, service, synthetic_shop, worker_memory
from benchmarks.synthetic_data import item_ids, random_bundle, zipf_sample
from components.settings import Settings

PAGE = ROOT / "docs" / "reliability.md"
MARKER = "soak"
ITEMS, USERS, EVENTS = 10_000, 1_000, 40
VISITORS = 100_000
REQUESTS, PART_SECONDS = 180_000, 10.0
CONNECTIONS = 16
SETTLED_SHARE = 0.4
"""Share of the requests after which the growth of memory is measured: the caches are full by then."""


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises BenchError if a service fails."""
    with synthetic_shop(random_bundle(ITEMS, settings), settings, users=USERS, events=EVENTS):
        figures = measure()
    write_between(page, MARKER, report(figures))
    return figures


def measure() -> dict[str, float]:
    done = failed = part = 0
    sizes: list[tuple[int, int]] = []
    with tqdm(total=REQUESTS, desc="soak") as bar, service(DUOTEMPO) as (port, _):
        while done < REQUESTS:
            load = apply_load(port, draw_requests(part), connections=CONNECTIONS, seconds=PART_SECONDS)
            done, failed, part = done + load.done, failed + load.failed, part + 1
            sizes.append((done, worker_memory()))
            bar.update(min(load.done, bar.total - bar.n))
    settled = next(size for at, size in sizes if at >= SETTLED_SHARE * REQUESTS)
    return {
        "requests": done,
        "failed": failed,
        "first_mb": sizes[0][1] / 1e6,
        "settled_mb": settled / 1e6,
        "last_mb": sizes[-1][1] / 1e6,
        "most_mb": max(size for _, size in sizes) / 1e6,
    }


def draw_requests(seed: int) -> list[tuple[str, str]]:
    random = np.random.default_rng(seed)
    count = 30_000
    user_rows, item_rows = zipf_sample(random, VISITORS, count), zipf_sample(random, ITEMS, count)
    items, is_feedback = item_ids(ITEMS), random.random(count) < 0.1
    requests = [("/recommend", json.dumps({"user_id": f"user-{user}", "k": 10})) for user in user_rows]
    for number in np.flatnonzero(is_feedback):
        event = {
            "event_id": uuid.uuid4().hex,
            "user_id": f"user-{user_rows[number]}",
            "item_id": items[item_rows[number]],
        }
        requests[number] = ("/feedback", json.dumps({"events": [event | {"event": "click"}]}))
    return requests


def report(figures: dict[str, float]) -> str:
    growth = figures["last_mb"] / figures["settled_mb"] - 1
    rows = [
        ["requests", f"{figures['requests']:,.0f}"],
        ["of these failed", f"{figures['failed']:.0f}"],
        [f"memory after the first {PART_SECONDS:.0f} s", f"{figures['first_mb']:.0f} MB"],
        [f"memory after {SETTLED_SHARE:.0%} of the requests", f"{figures['settled_mb']:.0f} MB"],
        ["memory at the end", f"{figures['last_mb']:.0f} MB"],
        ["**growth from there to the end**", f"**{growth:+.1%}**"],
    ]
    return f"{provenance('soak')} {VISITORS:,} users by Zipf's law.\n\n{table(['what', 'measured'], rows)}"
