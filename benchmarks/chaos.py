"""Kills services and supervisors of a platform at random moments under load, and measures losses and recovery times.

Starts its own platform with synthetic data. Kills are SIGKILL, so nothing can shut down cleanly; in the end every
acknowledged event must be in Postgres exactly once.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm

from benchmarks.ack_log import AckLog, logged_clients
from benchmarks.doc_tables import table, write_between
from benchmarks.faults import SERVICES, VICTIMS, inject_fault, restart, wait_until
from benchmarks.provenance import ROOT, commit, machine, sentence
from benchmarks.synthetic_data import item_ids, random_bundle, user_ids, write_synthetic_shop
from components.settings import Settings
from components.store.engine import make_engine
from infra.deploy.bento import build_bento
from infra.local.platform import Platform

PAGE = ROOT / "docs" / "reliability.md"
MARKER = "chaos"
ITEMS, USERS, EVENTS = 1000, 500, 20
ROUNDS_PER_RESTART = 5
"""Kills between two measured clean restarts, of each service in turn; one of each is also measured at the start."""
MAX_PAUSE_SECONDS = 3.0
"""Longest pause between two rounds."""
FROZEN_SECONDS = (1.0, 5.0)
ENVIRONMENT = {"DUOTEMPO_PLATFORM__SCHEDULES": "false"}


@dataclass
class Times:
    """Recovery times in seconds, by victim."""

    after_stop: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SERVICES})
    """From the start after a clean stop."""
    after_kill: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in VICTIMS})
    """From SIGKILL."""

    def figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, after_kill in self.after_kill.items():
            figures[f"{name}_kills"] = len(after_kill)
            if after_kill:
                figures |= {f"{name}_median_s": median(after_kill), f"{name}_worst_s": max(after_kill)}
            if name in self.after_stop:
                figures[f"{name}_normal_s"] = normal = median(self.after_stop[name])
            if after_kill and name in self.after_stop:
                within = sum(seconds <= 2 * normal for seconds in after_kill) / len(after_kill)
                figures |= {f"{name}_ratio": median(after_kill) / normal, f"{name}_within_two": within}
        return figures


def run(settings: Settings, rounds: int, seed: int = 0) -> dict[str, Any]:
    """Returns `{"bench", "commit", "machine", "figures": {name: number}}`.

    Raises BenchError if a victim does not recover in time.
    """
    with synthetic_platform(settings) as platform:
        figures = measure(platform, rounds, random.Random(seed))
    return {"bench": "chaos", "commit": commit(), "machine": machine(), "figures": figures}


@contextmanager
def synthetic_platform(settings: Settings) -> Iterator[Platform]:
    """A temporary platform that serves synthetic data; it is removed at the end. Raises PlatformError."""
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-") as home:
        os.environ.update(ENVIRONMENT, DUOTEMPO_HOME=home, DUOTEMPO_CACHE=str(settings.cache))
        platform = Platform(Settings(database_url=None))
        try:
            platform.up()
            serve_synthetic_data(platform, Path(home))
            yield platform
        finally:
            platform.down()
            platform.remove()


def serve_synthetic_data(platform: Platform, folder: Path) -> None:
    """Serves synthetic data on a running platform; the bundle is written below `folder`."""
    engine = make_engine(platform.database_url)
    bundle = folder / "bundle"
    write_synthetic_shop(
        bundle, random_bundle(ITEMS, platform.settings), engine, platform.settings, users=USERS, events=EVENTS
    )
    engine.dispose()
    tag = build_bento({"1": bundle}, newest="1", champion="1", bentoml_home=platform.home.bentoml)
    platform.serve(tag)


def measure(platform: Platform, rounds: int, rng: random.Random) -> dict[str, float]:
    times = Times()
    addresses = platform.addresses
    with (
        logged_clients(addresses.serving_url, user_ids(USERS), item_ids(ITEMS)) as log,
        tqdm(total=rounds, desc="chaos") as bar,
    ):
        for name in SERVICES:
            times.after_stop[name].append(restart(platform, name))
        restarts = cycle(SERVICES)
        for number in range(1, rounds + 1):
            time.sleep(rng.uniform(0, MAX_PAUSE_SECONDS))
            name = rng.choice(VICTIMS)
            times.after_kill[name].append(inject_fault(platform, name, rng.uniform(*FROZEN_SECONDS)))
            if number % ROUNDS_PER_RESTART == 0:
                name = next(restarts)
                times.after_stop[name].append(restart(platform, name))
            bar.update()
    wait_until(lambda: spooled_rows(addresses.serving_url) == 0, "the spool is not empty")
    lost, duplicated = log.compare_with_database(platform.database_url)
    return outcome_figures(log, lost, duplicated) | times.figures()


def spooled_rows(url: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == "duotempo_spool_rows")


def outcome_figures(log: AckLog, lost: int, duplicated: int) -> dict[str, float]:
    """Numbers of requests and events by outcome."""
    requests = {
        f"{path[1:]}_{outcome}": log.outcomes[f"{path} {outcome}"]
        for path in ("/recommend", "/feedback")
        for outcome in ("answered", "failed")
    }
    counts: dict[str, float] = {
        "acknowledged": len(log.acknowledged),
        "spooled": log.outcomes["spooled"],
        "hostile": log.outcomes["hostile"],
    }
    counts["longest_refusal_s"] = log.longest_outage
    return {**counts, "lost": lost, "duplicated": duplicated, **requests}


def report(figures: Mapping[str, float], rounds: int) -> str:
    """Two Markdown tables: losses, and recovery times."""
    list_requests = figures["recommend_answered"] + figures["recommend_failed"]
    feedback_requests = figures["feedback_answered"] + figures["feedback_failed"]
    rows = [
        ["events acknowledged, of these by the spool", f"{figures['acknowledged']:,.0f}, {figures['spooled']:,.0f}"],
        ["**of these lost**", f"**{figures['lost']:.0f}**"],
        ["**of these stored more than once**", f"**{figures['duplicated']:.0f}**"],
        ["invalid rows sent with them", f"{figures['hostile']:,.0f}"],
        ["list requests, of these failed", f"{list_requests:,.0f}, {figures['recommend_failed']:.0f}"],
        ["**longest time a client went without a successful response**", f"**{figures['longest_refusal_s']:.1f} s**"],
        [
            "feedback requests, of these failed",
            f"{feedback_requests:,.0f}, {figures['feedback_failed']:.0f}",
        ],
    ]
    header = [
        "killed",
        "times",
        "clean restart",
        "recovery, median",
        "worst",
        "median / clean restart",
        "within 2x",
    ]
    restart_rows = [
        [
            name,
            f"{figures[f'{name}_kills']:.0f}",
            _format_or_blank(figures, f"{name}_normal_s", "{:.1f} s"),
            f"{figures[f'{name}_median_s']:.1f} s",
            f"{figures[f'{name}_worst_s']:.1f} s",
            _format_or_blank(figures, f"{name}_ratio", "{:.2f}"),
            _format_or_blank(figures, f"{name}_within_two", "{:.0%}"),
        ]
        for name in VICTIMS
        if figures[f"{name}_kills"]
    ]
    head = sentence(f"duotempo chaos --rounds {rounds}")
    return f"{head}\n\n{table(['what', 'measured'], rows)}\n\n{table(header, restart_rows)}"


def _format_or_blank(figures: Mapping[str, float], name: str, shape: str) -> str:
    """The formatted figure; blank for the supervisors, which have no clean restart to compare with."""
    return shape.format(figures[name]) if name in figures else ""


def write(figures: Mapping[str, float], rounds: int, page: Path = PAGE) -> None:
    """Writes the tables into the page."""
    write_between(page, MARKER, report(figures, rounds))
