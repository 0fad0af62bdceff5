"""Distributed training by Ray Train, on one machine or a cluster, equals training in local processes."""

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import distributed, multiprocessing

from components.bundle.bundle import Bundle
from components.cluster.cluster import RayClusterError
from components.core.columns import Columns
from components.datasets.sources import Dataset
from components.embedding.vectors import text_hash, write_vectors
from components.fusion.training import Progress, TrainingError
from components.histories.states import UserState
from components.ranking.scorer import Scorer
from components.store.engine import make_engine
from components.store.snapshot import take_snapshot
from components.training.on_ray import train_distributed
from components.training.run import TrainingRun, extract_interests
from components.training.train import train
from tests.support import checkerboard as board
from tests.support.loading import ingest

WORKERS = 2


@pytest.fixture(scope="module")
def run(database: str, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A training run with two workers on the toy data, before its training."""
    home = tmp_path_factory.mktemp("home")
    chosen = board.settings(workers=WORKERS, epochs=4).model_copy(update={"home": home})
    events = board.events().rename(columns={Columns.OCCURRED_AT: "timestamp"})
    events["timestamp"] = [moment.isoformat() for moment in events["timestamp"]]
    items = board.catalogue().items[[Columns.ITEM, Columns.TITLE]]
    items = items.assign(description=np.where(board.BLACK, "black", "white"))
    engine = make_engine(database)
    ingest(
        engine, Dataset("checkerboard", events, items), chosen, source="checkerboard", now=board.CUT + timedelta(days=1)
    )
    training_run = TrainingRun.open(take_snapshot(engine, board.CUT, home / "snapshots").path, chosen)
    engine.dispose()
    texts = pq.read_table(extract_interests(training_run))[Columns.TEXT].to_pylist()
    colours = pd.Series(texts).str.count("black") - pd.Series(texts).str.count("white")
    vectors = np.random.default_rng(0).normal(0, 0.2, (len(texts), board.DIMENSION))
    vectors[:, 0] += np.sign(colours)
    write_vectors(training_run.vectors_file, [text_hash(text) for text in texts], vectors)
    return training_run


def with_settings(run: TrainingRun, address: str | None, **fusion: object) -> TrainingRun:
    """The run with a cluster address and changed fusion settings."""
    chosen = run.settings.fusion.model_copy(update=fusion)
    return replace(run, settings=run.settings.model_copy(update={"ray_address": address, "fusion": chosen}))


def scores(folder: Path) -> NDArray[np.float32]:
    """Scores of all items but five black squares, for a user who has just liked those."""
    bundle = Bundle.read(folder)
    liked = np.flatnonzero(black(bundle))[:5]
    now = board.CUT.timestamp()
    state = UserState(liked, np.full(5, now - 60), np.ones(5, np.float32), now)
    return np.delete(Scorer(bundle).score([state]).total[0], liked)


def black(bundle: Bundle) -> NDArray[np.bool_]:
    return np.array([board.BLACK[int(item[1:])] for item in bundle.items[Columns.ITEM].to_pylist()])


def train_worker(rank: int, run: TrainingRun, rendezvous: Path) -> None:
    """Training in one of several local processes, without Ray."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORKERS)
    train(run, "model", "planted")
    distributed.destroy_process_group()


def train_here(run: TrainingRun) -> tuple[Path, list[int]]:
    """Trains with a local Ray; returns the bundle's folder and the epoch numbers."""
    epochs: list[int] = []
    return train_distributed(run, "twin", "planted", lambda progress: epochs.append(progress.epoch)), epochs


@pytest.mark.long
def test_two_local_workers_train_a_working_bundle(run: TrainingRun) -> None:
    """Runs in a fresh process: one that has started a local Ray cannot reconnect to an earlier cluster."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        folder, epochs = pool.submit(train_here, with_settings(run, None)).result()
    assert epochs == [1, 2, 3, 4]
    bundle = Bundle.read(folder)
    is_black = np.delete(black(bundle), np.flatnonzero(black(bundle))[:5])
    assert is_black[np.argsort(-scores(folder))[:8]].mean() >= 0.8


@pytest.mark.long
def test_two_nodes_train_the_same_model_as_two_processes(
    run: TrainingRun, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs: list[Progress] = []
    with caplog.at_level(logging.INFO, "components.training.on_ray"):
        on_cluster = train_distributed(with_settings(run, address), "model", "planted", epochs.append)
    assert [progress.epoch for progress in epochs] == [1, 2, 3, 4]
    nodes = [record.args for record in caplog.records if record.name == "components.training.on_ray"]
    assert len(nodes) == len(set(nodes)) == WORKERS

    local = replace(run, folder=tmp_path / "apart")
    local.folder.mkdir()
    for file in run.folder.iterdir():
        if file.suffix in (".parquet", ".npz", ".json"):
            (local.folder / file.name).symlink_to(file)
    multiprocessing.spawn(train_worker, (local, tmp_path / "meeting"), nprocs=WORKERS)
    np.testing.assert_allclose(scores(on_cluster), scores(local.bundle("model")), rtol=1e-4, atol=1e-5)
    for name in ("vectors", "text_matrix"):
        actual, expected = (getattr(Bundle.read(folder), name) for folder in (on_cluster, local.bundle("model")))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_an_error_of_a_worker_is_raised_as_in_one_process(run: TrainingRun, address: str) -> None:
    with pytest.raises(TrainingError, match=r"epoch \d+, batch \d+.*LEARNING_RATE"):
        train_distributed(with_settings(run, address, learning_rate=1e30), "twin", "planted", lambda progress: None)


@pytest.mark.long
def test_a_cluster_that_is_too_small_is_refused(run: TrainingRun, address: str) -> None:
    with pytest.raises(RayClusterError, match=r"has 2 CPU for 10000 workers: add nodes to it, or lower .*WORKERS"):
        train_distributed(with_settings(run, address, workers=10_000), "model", "planted", lambda progress: None)


@pytest.mark.long
def test_a_run_with_a_cluster_extracts_the_same_interests(run: TrainingRun, address: str, tmp_path: Path) -> None:
    extract_interests(replace(with_settings(run, address), folder=tmp_path))
    for name in ("interests.parquet", "texts.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(run.folder / name))


def test_a_run_without_its_cluster_fails(run: TrainingRun, tmp_path: Path) -> None:
    gone = replace(with_settings(run, "127.0.0.1:1"), folder=tmp_path)
    with pytest.raises(RayClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        extract_interests(gone)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_folder_that_nodes_do_not_see_is_refused(run: TrainingRun, address: str, tmp_path: Path) -> None:
    """A path through this process's file descriptor simulates a local disk: other processes cannot see it."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    private_path = Path(f"/proc/self/fd/{descriptor}")
    if not private_path.exists():
        pytest.skip("this system has no /proc")
    try:
        with pytest.raises(
            RayClusterError, match=rf"does not see {private_path}: put DUOTEMPO_HOME on a file system that all"
        ):
            train_distributed(
                replace(with_settings(run, address), folder=private_path), "model", "planted", lambda progress: None
            )
    finally:
        os.close(descriptor)
