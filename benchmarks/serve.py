"""Throughput, latency and start-up time of the service.

The peers are a service that returns a constant, a straightforward FastAPI service, and an empty Bento. All use the same
synthetic data and one worker each; the load generator and Postgres run on the same machine. Nine requests of ten are
recommendations (k = 10, seen items excluded, the impression stored), one is feedback; users are drawn by Zipf's law.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.doc_tables import table, write_between
from benchmarks.load import Load, apply_load
from benchmarks.provenance import ROOT, provenance
from benchmarks.services import BENTO, DUOTEMPO, UVICORN, service, synthetic_shop
from benchmarks.synthetic_data import item_ids, random_bundle, user_ids, zipf_sample
from components.settings import Settings

PAGE = ROOT / "docs" / "performance.md"
MARKER = "serve"
ITEMS, USERS, EVENTS = 10_000, 5_000, 40
CONNECTIONS = 16
SECONDS, WARM_UP_SECONDS, PACED_SECONDS = 10.0, 10.0, 10.0
ROUNDS = 3
"""Runs of each service, interleaved. The best one counts: other load on the machine can only slow a run down."""
REQUESTS = 60_000
EMPTY = """import bentoml


@bentoml.service(name="empty", workers=1)
class Empty:
    @bentoml.api
    def ask(self) -> int:
        return 1
"""


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises BenchError if a service fails."""
    with synthetic_shop(random_bundle(ITEMS, settings), settings, users=USERS, events=EVENTS) as (folder, _):
        figures = measure(folder)
    write_between(page, MARKER, report(figures))
    return figures


def measure(folder: Path) -> dict[str, float]:
    (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
    commands = {
        "constant": (*UVICORN, "{port}", "benchmarks.peers.constant:app"),
        "plain": (*UVICORN, "{port}", "benchmarks.peers.plain:app"),
        "duotempo": DUOTEMPO,
    }
    empty = (*BENTO, "{port}", "empty:Empty", "--working-dir", str(folder))
    figures: dict[str, float] = {}
    with tqdm(total=ROUNDS * (len(commands) + 2) + 2, desc="serve") as bar:
        best: dict[str, Load] = {}
        starts: dict[str, list[float]] = {"duotempo": [], "empty": []}
        for number in range(ROUNDS):
            for name, command in commands.items():
                with service(command) as (port, _):
                    apply_load(port, draw_requests(number, 0), connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
                    load = apply_load(port, draw_requests(number, 1), connections=CONNECTIONS, seconds=SECONDS)
                best[name] = max(best.get(name, load), load, key=lambda load: load.rate)
                figures[f"{name}_failed"] = figures.get(f"{name}_failed", 0) + load.failed
                bar.update()
            for name, command in (("duotempo", commands["duotempo"]), ("empty", empty)):
                with service(command) as (_, seconds):
                    starts[name].append(seconds)
                bar.update()
        figures |= {f"{name}_rps": load.rate for name, load in best.items()}
        for name in ("duotempo", "constant"):
            with service(commands[name]) as (port, _):
                apply_load(port, draw_requests(ROUNDS, 0), connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
                paced = [
                    apply_load(
                        port, draw_requests(ROUNDS, number), connections=CONNECTIONS, seconds=PACED_SECONDS,
                        rate=best["duotempo"].rate / 2,
                    )
                    for number in range(1, ROUNDS + 1)
                ]  # fmt: skip
            half = min(paced, key=lambda load: load.p99)
            figures[f"{name}_failed"] += sum(load.failed for load in paced)
            figures |= {f"{name}_half_p50_ms": 1000 * half.p50, f"{name}_half_p99_ms": 1000 * half.p99}
            bar.update()
    figures |= {f"{name}_start_s": min(seconds) for name, seconds in starts.items()}
    return figures


def draw_requests(*seed: int) -> list[tuple[str, str]]:
    """(path, JSON body) of random requests; feedback has unique event ids."""
    random = np.random.default_rng([*seed, int(time.time())])
    users, items = user_ids(USERS), item_ids(ITEMS)
    user_rows, item_rows = zipf_sample(random, USERS, REQUESTS), zipf_sample(random, ITEMS, REQUESTS)
    is_feedback = random.random(REQUESTS) < 0.1
    requests: list[tuple[str, str]] = []
    for number in range(REQUESTS):
        user = users[user_rows[number]]
        if is_feedback[number]:
            event_id = f"{random.integers(2**62)}-{number}"
            event = {"event_id": event_id, "user_id": user, "item_id": items[item_rows[number]], "event": "click"}
            requests.append(("/feedback", json.dumps({"events": [event]})))
        else:
            requests.append(("/recommend", json.dumps({"user_id": user, "k": 10})))
    return requests


def tail(figures: Mapping[str, float], name: str) -> tuple[str, str]:
    """Median and 99th percentile of the latency at half of the peak rate, and their ratio."""
    p50, p99 = figures[f"{name}_half_p50_ms"], figures[f"{name}_half_p99_ms"]
    return f"{p50:.2f} ms, {p99:.2f} ms", f"p99 = {p99 / p50:.1f} x p50"


def report(figures: Mapping[str, float]) -> str:
    rows = [
        ["requests per second: uvicorn and Starlette, a constant", f"{figures['constant_rps']:,.0f}", ""],
        ["requests per second: FastAPI, SQLAlchemy, numpy", f"{figures['plain_rps']:,.0f}", ""],
        [
            "**requests per second: Duotempo**", f"**{figures['duotempo_rps']:,.0f}**",
            f"{figures['duotempo_rps'] / figures['constant_rps']:.3f} x the constant, "
            f"{figures['duotempo_rps'] / figures['plain_rps']:.1f} x FastAPI",
        ],
        ["failed requests of Duotempo", f"{figures['duotempo_failed']:.0f}", ""],
        ["/recommend at half of that rate: p50, p99", *tail(figures, "duotempo")],
        ["the constant at the same rate: p50, p99", *tail(figures, "constant")],
        [
            "start to ready: Duotempo, an empty Bento",
            f"{figures['duotempo_start_s']:.1f} s, {figures['empty_start_s']:.1f} s",
            f"{figures['duotempo_start_s'] / figures['empty_start_s']:.2f} x",
        ],
    ]  # fmt: skip
    note = (
        f"{ITEMS:,} items, {USERS:,} users with {EVENTS} events each, {CONNECTIONS} connections, the best of {ROUNDS} "
        f"runs of {SECONDS:.0f} s."
    )
    return f"{provenance('serve')} {note}\n\n{table(['what', 'measured', 'ratio'], rows)}"
