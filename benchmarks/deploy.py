"""Duration of a promotion and a rollback under load, and of a retraining without new data.

Starts its own platform and runs the same CLI commands as a user would.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
from mlflow import MlflowClient
from tqdm import tqdm

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.load_clients import CALLERS, REQUESTS_PER_SECOND, run_clients
from benchmarks.provenance import ROOT, provenance
from components.registry import NAME
from components.settings import Settings
from components.store.engine import make_engine
from components.store.variants import CHAMPION
from infra.local.platform import Platform
from serving.recommend.catalogue import active_users

DATASET = "chinese-sample"
PAGE = ROOT / "docs" / "performance.md"
MARKER = "deploy"
USERS = [f"caller {number}" for number in range(100)]
ENVIRONMENT = {
    "DUOTEMPO_PRESET": "demo",
    "DUOTEMPO_DEPLOY__CANARY_SHARE": "0.5",
    "DUOTEMPO_DEPLOY__CANARY_SECONDS": "10",
    "DUOTEMPO_PLATFORM__SCHEDULES": "false",
}
"""The canary gets half of the users, so that a few clients reach it at once."""
TIMEOUT_SECONDS = 300.0
PAUSE_SECONDS = 0.1
STEPS = 9


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench and writes the table into `page`. Returns seconds and numbers of requests by name.

    Raises BenchError when a command fails or a version does not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-") as home, tqdm(total=STEPS, desc="deploy") as bar:
        os.environ.update(ENVIRONMENT, DUOTEMPO_HOME=home, DUOTEMPO_CACHE=str(settings.cache))
        platform = Platform(Settings())
        try:
            figures = measure(platform, bar)
        finally:
            platform.down()
            platform.remove()
    write_between(page, MARKER, report(figures))
    return figures


def measure(platform: Platform, bar: "tqdm[None]") -> dict[str, float]:
    """Starts the platform, deploys two versions and returns the figures."""

    def timed_command(*command: str) -> float:
        started = time.monotonic()
        duotempo(*command)
        bar.update()
        return time.monotonic() - started

    timed_command("up")
    folder = duotempo("data", "get", DATASET).splitlines()[-1]
    timed_command("ingest", folder)
    timed_command("retrain", "--wait")
    timed_command("promote", "1", "--force", "--why", "a benchmark")
    figures = {"retrain_unchanged_s": timed_command("retrain", "--wait")}
    send_feedback(platform)
    timed_command("retrain", "--wait")
    pass_gate(platform, "2")
    with run_clients(platform.addresses.serving_url, USERS) as seen:
        timed_command("promote", "2")
        figures["rollback_s"] = seconds_until_answer("1", seen, lambda: duotempo("rollback"))
        bar.update()
        figures["alias_to_canary_s"] = seconds_until_answer("2", seen, lambda: set_alias(platform, "2"))
        bar.update()
    figures |= {"requests": seen.total(), "requests_failed": seen.total() - seen["1"] - seen["2"]}
    return figures


def duotempo(*command: str) -> str:
    """Runs `duotempo` and returns its stdout. Raises BenchError with the output when it fails."""
    program = Path(sys.executable).with_name("duotempo")
    done = subprocess.run([program, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"duotempo {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def busiest(platform: Platform) -> list[dict[str, object]]:
    engine = make_engine(platform.database_url)
    with engine.connect() as connection:
        users = active_users(connection, 20)
    engine.dispose()
    return list(users)


def send_feedback(platform: Platform) -> None:
    """Sends feedback on recommended items, so that the next retraining has new data."""
    with httpx.Client(base_url=platform.addresses.serving_url, timeout=30) as client:
        users = busiest(platform)
        for user in users:
            answer = client.post("/recommend", json={"user_id": user["user_id"]}).raise_for_status().json()
            liked = {"user_id": user["user_id"], "item_id": answer["items"][0]["item_id"], "event": "like"}
            client.post("/feedback", json={"events": [liked]}).raise_for_status()


def pass_gate(platform: Platform, version: str) -> None:
    """Marks the version as passed: the gate's verdict on so small a dataset is not what is measured."""
    with platform.entered():
        MlflowClient(platform.addresses.mlflow_url).set_model_version_tag(NAME, version, "gate", "passed")


def set_alias(platform: Platform, version: str) -> None:
    """Sets the champion alias, as MLflow's UI does."""
    with platform.entered():
        MlflowClient(platform.addresses.mlflow_url).set_registered_model_alias(NAME, CHAMPION, version)


def seconds_until_answer(version: str, seen: Counter[str], act: Callable[[], object]) -> float:
    """Seconds from `act` to the next response of the version. Raises BenchError when none comes in time."""
    started, before = time.monotonic(), seen[version]
    act()
    while seen[version] == before:
        if time.monotonic() - started > TIMEOUT_SECONDS:
            raise BenchError(
                f"version {version} did not answer within {TIMEOUT_SECONDS:.0f} s; responses so far: {dict(seen)}"
            )
        time.sleep(PAUSE_SECONDS)
    return time.monotonic() - started


def report(figures: dict[str, float]) -> str:
    rows = [
        [
            "alias set in the registry, to the canary's first response, Bento cached",
            f"{figures['alias_to_canary_s']:.1f} s",
        ],
        ["`duotempo rollback`, to the first response of the previous version", f"{figures['rollback_s']:.1f} s"],
        ["`duotempo retrain --wait` without new data", f"{figures['retrain_unchanged_s']:.1f} s"],
        [f"requests meanwhile, at most {CALLERS * REQUESTS_PER_SECOND} per second", f"{figures['requests']:,.0f}"],
        ["of these failed", f"{figures['requests_failed']:.0f}"],
    ]
    return f"{provenance('deploy')}\n\n{table(['what', 'measured'], rows)}"
