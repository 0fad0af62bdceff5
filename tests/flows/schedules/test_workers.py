"""Workers that share a queue, and runs whose worker dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from components.embedding.vectors import read_vectors
from components.settings import EmbeddingSettings
from infra.orchestration.client import run_deployment, start_deployment
from infra.orchestration.deployments import SILENCE_SECONDS
from infra.orchestration.worker import NAME_LABEL, device, report_lost_runs, usual_name
from infra.processes.orphans import environment_of
from infra.processes.programs import PROJECT
from tests.support.schedules import RunningPlatform, fill
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)
TEXTS = 1500
SLOW = EmbeddingSettings(batch_size=8, token_budget=256)
SECOND = f"second ({device()})"


@pytest.fixture
def second(running: RunningPlatform) -> Iterator[subprocess.Popen[bytes]]:
    """A second worker of the gpu pool, as on another machine: nothing restarts it."""
    command = [sys.executable, "-m", "cli.main", "worker", "gpu", "--name", "second"]
    with (running.platform.home.logs / "second.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        eventually(lambda: SECOND in online(running))
        yield process
        process.kill()
        process.wait()


def online(running: RunningPlatform) -> set[str]:
    workers = running.prefect.ask("/work_pools/gpu/workers/filter", {})
    return {one["name"] for one in workers if one["status"] == "ONLINE"}


def platforms_worker(running: RunningPlatform) -> psutil.Process:
    return psutil.Process(running.platform.status()["services"]["worker-gpu"]["pid"])


def texts_file(folder: Path, count: int, word: str) -> dict[str, Any]:
    """Returns the parameters of an embedding of `count` distinct texts."""
    file = folder / f"{word}.parquet"
    pq.write_table(pa.table({"text": [f"{word} number {number} of the shop" for number in range(count)]}), file)
    vectors = file.with_name(f"{word}-vectors.parquet")
    return {"texts_file": str(file), "out_file": str(vectors), "settings": SLOW.model_dump(mode="json")}


def processes(run_id: str) -> list[psutil.Process]:
    """Returns the processes of a flow run, without the worker itself."""
    return [p for p in psutil.process_iter() if environment_of(p).get("PREFECT__FLOW_RUN_ID") == run_id]


def cached(running: RunningPlatform) -> int:
    """Counts the vectors in the cache."""
    files = (running.platform.settings.cache / "embeddings").rglob("*.parquet")
    return sum(pq.read_metadata(file).num_rows for file in files)


@pytest.mark.long
def test_two_workers_share_the_queue(running: RunningPlatform, second: subprocess.Popen[bytes], tmp_path: Path) -> None:
    first = platforms_worker(running)
    first.send_signal(signal.SIGSTOP)
    try:
        result = run_deployment("embed/gpu", texts_file(tmp_path, 20, "lamp"), timeout=200)
    finally:
        first.send_signal(signal.SIGCONT)
    assert result["worker"] == SECOND
    second.send_signal(signal.SIGSTOP)
    try:
        result = run_deployment("embed/gpu", texts_file(tmp_path, 20, "chair"), timeout=200)
    finally:
        second.send_signal(signal.SIGCONT)
    assert result["worker"] == f"{usual_name('gpu')} ({device()})"


@pytest.mark.long  # Prefect reports a crash after two minutes without a heartbeat
def test_dead_worker_loses_one_batch_and_its_run_is_rerun(
    running: RunningPlatform, second: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """The second worker and its run are killed as in a power failure, so that no process reports the crash."""
    parameters, before = texts_file(tmp_path, TEXTS, "kettle"), cached(running)
    first = platforms_worker(running)
    first.send_signal(signal.SIGSTOP)
    try:
        run_id = start_deployment("embed/gpu", parameters).page.rpartition("/")[2]
        eventually(lambda: cached(running) > before + 40)
        for process in [psutil.Process(second.pid), *processes(run_id)]:
            process.kill()
        second.wait()
        kept = cached(running) - before
        assert running.prefect.run(run_id)["labels"][NAME_LABEL] == SECOND
    finally:
        first.send_signal(signal.SIGCONT)
    report_lost_runs(os.environ["PREFECT_API_URL"], f"{usual_name('gpu')} ({device()})")
    assert running.prefect.run(run_id)["state_type"] == "RUNNING", "a worker reports only its own runs"

    ended = eventually(
        lambda: (run := running.prefect.run(run_id))["state_type"] == "COMPLETED" and run, SILENCE_SECONDS + 400
    )
    assert ended["run_count"] == 2
    assert [name for name in running.prefect.states(run_id) if name in ("Crashed", "AwaitingRetry")] == [
        "Crashed",
        "AwaitingRetry",
    ]
    table = running.prefect.artifacts(run_id)["embeddings"]["data"]
    assert f'"reused": {kept}, ' in table
    assert f'"computed": {TEXTS - kept}, ' in table
    assert read_vectors(Path(parameters["out_file"]), ["kettle number 0 of the shop"]).shape[0] == 1


@pytest.mark.long
def test_killed_retraining_is_rerun_and_follows_its_running_child(running: RunningPlatform) -> None:
    """The retraining dies with its worker while the gpu worker trains: the rerun follows that training."""
    fill(running)
    with running.engine.begin() as connection:
        connection.execute(text("UPDATE items SET title = 'another picture' WHERE item_id = 'i5'"))
    fuse_runs = len(running.prefect.runs("fuse"))
    run_id = start_deployment("retrain/nightly", {}).page.rpartition("/")[2]
    eventually(lambda: len(running.prefect.runs("fuse")) > fuse_runs)
    worker = psutil.Process(running.platform.status()["services"]["worker-cpu"]["pid"])
    for process in [worker, *processes(run_id)]:
        process.kill()
    ended = eventually(
        lambda: (run := running.prefect.run(run_id))["state_type"] in ("COMPLETED", "FAILED") and run, 500
    )
    assert (ended["state_type"], ended["run_count"]) == ("COMPLETED", 2)
    assert len(running.prefect.runs("fuse")) == fuse_runs + 1
