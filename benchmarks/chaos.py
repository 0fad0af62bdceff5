"""Kills services and keepers of a platform at random moments, under load, and counts what that costs.

On a platform of its own, with a shop that is made up. A kill is SIGKILL, so nothing can be tidied up; what the service
acknowledged must be in Postgres once when all is over.
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

from benchmarks.ack_log import Ledger, callers
from benchmarks.doc_tables import table, write_between
from benchmarks.harm import SERVICES, VICTIMS, harm, start_anew, until
from benchmarks.provenance import ROOT, commit, machine, sentence
from benchmarks.synthetic_data import draw_bundle, item_ids, user_ids, write_shop
from components.settings import Settings
from components.store.engine import make_engine
from infra.deploy.bento import build_bento
from infra.local.platform import Platform

PAGE = ROOT / "docs" / "reliability.md"
MARKER = "chaos"
ITEMS, USERS, EVENTS = 1000, 500, 20
ROUNDS_A_START = 5
"""After so many kills a normal start is measured, of each service in turn, beside one of each at the beginning."""
CALM_SECONDS = 3.0
"""Between two rounds at most."""
FROZEN_SECONDS = (1.0, 5.0)
CHOSEN = {"DUOTEMPO_PLATFORM__SCHEDULES": "false"}


@dataclass
class Times:
    """Seconds until ready, by victim."""

    normal: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SERVICES})
    """From a start after an end in good order."""
    killed: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in VICTIMS})
    """From SIGKILL."""

    def figures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, killed in self.killed.items():
            found[f"{name}_kills"] = len(killed)
            if killed:
                found |= {f"{name}_median_s": median(killed), f"{name}_worst_s": max(killed)}
            if name in self.normal:
                found[f"{name}_normal_s"] = normal = median(self.normal[name])
            if killed and name in self.normal:
                within = sum(seconds <= 2 * normal for seconds in killed) / len(killed)
                found |= {f"{name}_ratio": median(killed) / normal, f"{name}_within_two": within}
        return found


def run(settings: Settings, rounds: int, seed: int = 0) -> dict[str, Any]:
    """`{"bench", "commit", "machine", "figures": {name: number}}`. Raises BenchError if one does not come back."""
    with shop_platform(settings) as platform:
        figures = measure(platform, rounds, random.Random(seed))
    return {"bench": "chaos", "commit": commit(), "machine": machine(), "figures": figures}


@contextmanager
def shop_platform(settings: Settings) -> Iterator[Platform]:
    """A platform in a home of its own that serves a made-up shop, gone at the end. Raises PlatformError."""
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-") as home:
        os.environ.update(CHOSEN, DUOTEMPO_HOME=home, DUOTEMPO_CACHE=str(settings.cache))
        platform = Platform(Settings(database_url=None))
        try:
            platform.up()
            serve_shop(platform, Path(home))
            yield platform
        finally:
            platform.down()
            platform.remove()


def serve_shop(platform: Platform, place: Path) -> None:
    """Serves a made-up shop on a platform that is up; its files go to the folder `place`."""
    engine = make_engine(platform.database_url)
    bundle = place / "bundle"
    write_shop(bundle, draw_bundle(ITEMS, platform.settings), engine, platform.settings, users=USERS, events=EVENTS)
    engine.dispose()
    tag = build_bento({"1": bundle}, newest="1", champion="1", bentoml_home=platform.home.bentoml)
    platform.serve(tag, "1")


def measure(platform: Platform, rounds: int, drawn: random.Random) -> dict[str, float]:
    times = Times()
    at = platform.addresses
    with (
        callers(at.serving_url, user_ids(USERS), item_ids(ITEMS)) as ledger,
        tqdm(total=rounds, desc="chaos") as bar,
    ):
        for name in SERVICES:
            times.normal[name].append(start_anew(platform, name))
        calm = cycle(SERVICES)
        for number in range(1, rounds + 1):
            time.sleep(drawn.uniform(0, CALM_SECONDS))
            name = drawn.choice(VICTIMS)
            times.killed[name].append(harm(platform, name, drawn.uniform(*FROZEN_SECONDS)))
            if number % ROUNDS_A_START == 0:
                name = next(calm)
                times.normal[name].append(start_anew(platform, name))
            bar.update()
    until(lambda: spooled(at.serving_url) == 0, "the spool is not empty")
    lost, duplicated = ledger.check(platform.database_url)
    return counted(ledger, lost, duplicated) | times.figures()


def spooled(url: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == "duotempo_spool_rows")


def counted(ledger: Ledger, lost: int, duplicated: int) -> dict[str, float]:
    """What was asked and told, and what came of it."""
    requests = {
        f"{path[1:]}_{outcome}": ledger.seen[f"{path} {outcome}"]
        for path in ("/recommend", "/feedback")
        for outcome in ("answered", "failed")
    }
    kept: dict[str, float] = {
        "acknowledged": len(ledger.events),
        "spooled": ledger.seen["spooled"],
        "hostile": ledger.seen["hostile"],
    }
    kept["longest_refusal_s"] = ledger.longest
    return {**kept, "lost": lost, "duplicated": duplicated, **requests}


def report(figures: Mapping[str, float], rounds: int) -> str:
    """Two tables in Markdown: what was lost, and how soon each was ready again."""
    asked = figures["recommend_answered"] + figures["recommend_failed"]
    told = figures["feedback_answered"] + figures["feedback_failed"]
    rows = [
        ["events acknowledged, of them by the spool", f"{figures['acknowledged']:,.0f}, {figures['spooled']:,.0f}"],
        ["**of them lost**", f"**{figures['lost']:.0f}**"],
        ["**of them stored more than once**", f"**{figures['duplicated']:.0f}**"],
        ["hostile rows told with them", f"{figures['hostile']:,.0f}"],
        ["lists asked for, of these requests failed", f"{asked:,.0f}, {figures['recommend_failed']:.0f}"],
        ["**longest time in which a caller was refused**", f"**{figures['longest_refusal_s']:.1f} s**"],
        ["batches of feedback told, of these requests failed", f"{told:,.0f}, {figures['feedback_failed']:.0f}"],
    ]
    header = [
        "killed",
        "times",
        "a normal start",
        "ready again, median",
        "worst",
        "median in normal starts",
        "within 2",
    ]
    ready = [
        [
            name,
            f"{figures[f'{name}_kills']:.0f}",
            _or_none(figures, f"{name}_normal_s", "{:.1f} s"),
            f"{figures[f'{name}_median_s']:.1f} s",
            f"{figures[f'{name}_worst_s']:.1f} s",
            _or_none(figures, f"{name}_ratio", "{:.2f}"),
            _or_none(figures, f"{name}_within_two", "{:.0%}"),
        ]
        for name in VICTIMS
        if figures[f"{name}_kills"]
    ]
    head = sentence(f"duotempo chaos --rounds {rounds}")
    return f"{head}\n\n{table(['what', 'measured'], rows)}\n\n{table(header, ready)}"


def _or_none(figures: Mapping[str, float], name: str, shape: str) -> str:
    """The keepers have no start in good order to be compared with."""
    return shape.format(figures[name]) if name in figures else ""


def write(figures: Mapping[str, float], rounds: int, page: Path = PAGE) -> None:
    """Puts the tables into the page."""
    write_between(page, MARKER, report(figures, rounds))
