"""Cost of a hundred times more items: latency, memory of the service, and recall of the best items.

Two synthetic catalogues: one small enough for exact scoring, one of a million items with an index. Each user is
requested once, so that no response comes from a cache.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.catalogues import clustered_bundle, visitors
from benchmarks.doc_tables import table, write_between
from benchmarks.load import apply_load
from benchmarks.provenance import ROOT, provenance
from benchmarks.services import DUOTEMPO, service, synthetic_shop, worker_memory
from benchmarks.synthetic_data import user_ids
from components.bundle.bundle import Bundle
from components.ranking.candidates import Candidates, with_indexes
from components.ranking.filters import best_first
from components.ranking.retrieval import PopularItems, UserRetrieval
from components.ranking.scorer import PARTS, Scorer
from components.settings import Settings

PAGE = ROOT / "docs" / "performance.md"
MARKER = "retrieval"
SIZES = {"small": 10_000, "large": 1_000_000}
USERS, EVENTS = 2_000, 40
EVALUATED_USERS = 200
"""Users whose top ten are compared with the exact top ten."""
K = 10


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises BenchError if a service fails."""
    figures: dict[str, float] = {}
    with tqdm(total=2 * len(SIZES), desc="retrieval") as bar:
        for name, size in SIZES.items():
            bundle = with_indexes(clustered_bundle(size), settings.ranking.exact_below)
            figures |= {f"{name}_{what}": value for what, value in recall(bundle, settings).items()}
            bar.update()
            figures |= {f"{name}_{what}": value for what, value in serving_figures(bundle, settings).items()}
            bar.update()
    write_between(page, MARKER, report(figures))
    return figures


def recall(bundle: Bundle, settings: Settings) -> dict[str, float]:
    """recall@10 of the candidates against exact scoring, by strategy."""
    scorer = Scorer(bundle)
    candidates, popular = Candidates(bundle, settings.ranking.exact_below), PopularItems(scorer)
    recalls: dict[str, list[float]] = {strategy: [] for strategy in PARTS}
    for state in visitors(bundle, EVALUATED_USERS):
        unseen = np.ones(bundle.items.num_rows, dtype=bool)
        unseen[state.items] = False
        rows = np.flatnonzero(unseen)
        for strategy in PARTS:
            query = scorer.query([state], strategy)
            best = rows[best_first(scorer.total(query)[0, rows], K)]
            returned, _ = next(candidates.batches(UserRetrieval(scorer, query, popular), unseen, K))
            recalls[strategy].append(float(np.isin(best, returned).mean()))
    return {f"recall_{strategy}": float(np.mean(shares)) for strategy, shares in recalls.items()}


def serving_figures(bundle: Bundle, settings: Settings) -> dict[str, float]:
    """Latency, memory and start-up time of a service that answers each user once."""
    served = replace(bundle, manifest=bundle.manifest | {"model_version": "1"})
    with synthetic_shop(served, settings, users=USERS, events=EVENTS):
        requests = [("/recommend", json.dumps({"user_id": user, "k": K})) for user in user_ids(USERS)]
        with service(DUOTEMPO) as (port, seconds):
            apply_load(port, requests[: USERS // 2], connections=1, seconds=3, rate=USERS / 2 / 3)
            load = apply_load(port, requests[USERS // 2 :], connections=1, seconds=5, rate=USERS / 2 / 5)
            used = worker_memory()
        return {
            "p50_ms": 1000 * load.p50, "p99_ms": 1000 * load.p99, "failed": load.failed,
            "memory_gb": used / 1e9, "start_s": seconds,
        }  # fmt: skip


def report(figures: dict[str, float]) -> str:
    def row(what: str, text: str, compared: str = "") -> list[str]:
        names = [f"{name}_{what}" for name in SIZES]
        small, large = (figures[name] for name in names)
        return [text, f"{small:.4g}", f"{large:.4g}", compared and f"{large / small:.2f} x"]

    rows = [
        row("p50_ms", "/recommend, a user not in the cache, p50 in ms", "ratio"),
        row("p99_ms", "p99 in ms", "ratio"),
        row("memory_gb", "memory of the service in GB, the bundle's mapped files included"),
        row("start_s", "start to ready in s"),
        *(row(f"recall_{strategy}", f"recall@10 against exact scoring, {strategy}") for strategy in PARTS),
        row("failed", "failed requests"),
    ]
    header = ["what", *(f"{size:,} items" for size in SIZES.values()), "ratio"]
    note = (
        f"128 dimensions; {USERS:,} users with {EVENTS} events each; recall over {EVALUATED_USERS} users; "
        "one connection."
    )
    return f"{provenance('retrieval')} {note}\n\n{table(header, rows)}"
