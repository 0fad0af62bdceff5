"""Erasure of a user from all files, even if interrupted; other users are kept."""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.core.columns import Columns
from components.datasets.sources import Dataset
from components.embedding.embed import embed
from components.embedding.vectors import read_table, read_vectors, text_hash, write_vectors
from components.housekeeping.erasure import erase_files, report
from components.registry import Version
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import Snapshot, take_snapshot
from components.training.run import TrainingRun, extract_interests
from tests.support.loading import ingest

NOW = datetime(2024, 6, 1, tzinfo=UTC)
ANNA = "anna"
USERS = (ANNA, "ben", "carl")


@dataclass(frozen=True)
class Platform:
    """A home with a snapshot, its training run, and a cache."""

    run: TrainingRun
    cache: Path
    result: Path

    @property
    def home(self) -> Path:
        return self.run.settings.home

    def erase(self) -> dict[str, int]:
        erased = erase_files(self.home, self.cache, ANNA, datetime.now(UTC) + timedelta(seconds=1))
        return vars(erased)


@pytest.fixture(scope="module")
def built(database: str, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Built once; the tests erase from copies."""
    folder = tmp_path_factory.mktemp("made")
    settings = Settings(home=folder / "home", cache=folder / "cache")
    events = pd.DataFrame(
        [
            (user, f"i{(number * (step + 1)) % 9}", (NOW - timedelta(days=step + 1)).timestamp(), "like")
            for number, user in enumerate(USERS, 1)
            for step in range(9)
        ],
        columns=[Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT],
    )
    items = pd.DataFrame({Columns.ITEM: [f"i{n}" for n in range(9)], Columns.TITLE: [f"Lamp {n}" for n in range(9)]})
    engine = make_engine(database)
    ingest(engine, Dataset("shop", events, items), settings, source="shop", now=NOW)
    run = TrainingRun.open(take_snapshot(engine, NOW, settings.home / "snapshots").path, settings)
    engine.dispose()
    texts = pq.read_table(extract_interests(run))[Columns.TEXT].to_pylist()
    embedded = embed(texts, settings.embedding, settings.cache / "embeddings", progress=False)
    write_vectors(run.vectors_file, [text_hash(text) for text in texts], embedded.vectors)
    result = settings.home / "prefect" / "storage" / "0123"
    result.parent.mkdir(parents=True)
    result.write_text(ANNA)
    return Platform(run, settings.cache, result)


@pytest.fixture
def platform(built: Platform, tmp_path: Path) -> Platform:
    settings = built.run.settings.model_copy(update={"home": tmp_path / "home", "cache": tmp_path / "cache"})
    shutil.copytree(built.home, settings.home)
    shutil.copytree(built.cache, settings.cache)
    run = TrainingRun.open(settings.home / built.run.snapshot_path.relative_to(built.home), settings)
    return Platform(run, settings.cache, settings.home / built.result.relative_to(built.home))


def documents(run: TrainingRun) -> dict[str, set[str]]:
    """The documents of each user."""
    interests = pd.read_parquet(run.interests_file)
    melted = interests.melt(Columns.USER, [Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT])
    return {str(user): set(group["value"]) - {""} for user, group in melted.groupby(Columns.USER)}


def cached(cache: Path) -> set[str]:
    parts = (cache / "embeddings").glob("*/*.parquet")
    return {name for part in parts for name in read_table(part)[0].to_pylist()}


def assert_erased(platform: Platform, before: dict[str, set[str]]) -> None:
    run = TrainingRun.open(platform.run.snapshot_path, platform.run.settings)
    assert set(run.snapshot.events()[Columns.USER]) == set(USERS) - {ANNA}
    assert run.snapshot.manifest["rows"]["events"] == 18
    after = documents(run)
    assert after == {user: texts_of_user for user, texts_of_user in before.items() if user != ANNA}
    others = set().union(*after.values())
    own = before[ANNA] - others
    assert own
    texts = set(pq.read_table(run.texts_file)[Columns.TEXT].to_pylist())
    assert not own & texts
    assert others <= texts
    hashes = {text_hash(text) for text in own}
    assert not hashes & cached(platform.cache)
    assert not hashes & set(read_table(run.vectors_file)[0].to_pylist())
    assert np.isfinite(read_vectors(run.vectors_file, sorted(texts))).all()
    assert {text_hash(text) for text in texts} <= cached(platform.cache)
    assert not platform.result.exists()
    for file in platform.home.rglob("*"):
        assert not file.is_file() or ANNA.encode() not in file.read_bytes(), file


def test_all_data_of_the_user_is_erased_and_other_users_are_kept(platform: Platform) -> None:
    before, identity = documents(platform.run), platform.run.snapshot.manifest
    erased = platform.erase()
    assert_erased(platform, before)
    manifest = Snapshot.open(platform.run.snapshot_path).manifest
    assert manifest["id"] == identity["id"]
    assert manifest["sha256"]["events"] != identity["sha256"]["events"]
    assert erased["snapshot_events"] == 9
    assert erased["cached_vectors"] >= 1
    assert set(platform.erase().values()) == {0}


@pytest.mark.parametrize("step", range(1, 8))
def test_an_interrupted_erasure_is_completed(platform: Platform, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is replaced by a rename; the process is interrupted before the rename with this number."""
    before = documents(platform.run)
    steps = 0
    replace = Path.replace

    def until(self: Path, target: Path) -> Path:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", until)
    with suppress(KeyboardInterrupt):
        platform.erase()
    monkeypatch.undo()
    platform.erase()
    assert_erased(platform, before)


def test_an_unreadable_snapshot_is_removed(platform: Platform) -> None:
    (platform.run.snapshot_path / "events.parquet").write_bytes(b"PAR1 anna")
    assert platform.erase()["unreadable_snapshots"] == 1
    assert not platform.run.snapshot_path.exists()


@pytest.mark.parametrize("name", ["interests.parquet", "texts.parquet"])
def test_an_unreadable_training_run_is_removed(platform: Platform, name: str) -> None:
    file = platform.run.folder / name
    file.write_bytes(file.read_bytes()[:-9])
    assert platform.erase()["unreadable_runs"] == 1
    assert not platform.run.folder.exists()
    assert platform.erase()["unreadable_runs"] == 0


def test_results_of_later_flow_runs_are_kept(platform: Platform) -> None:
    later = time.time() + 3600
    os.utime(platform.result, (later, later))
    platform.erase()
    assert platform.result.exists()


def test_fetched_rows_of_a_killed_load_are_removed(platform: Platform) -> None:
    earlier, later = time.time() - 3600, time.time() + 3600
    for name, moment in (("orders", earlier), ("products", later)):
        folder = platform.home / "ingest" / name
        folder.mkdir(parents=True)
        os.utime(folder, (moment, moment))
    assert platform.erase()["fetched_sources"] == 1
    assert [path.name for path in (platform.home / "ingest").iterdir()] == ["products"]


def test_the_report_lists_the_models_trained_on_the_user() -> None:
    def version(number: str, cut: datetime, built: datetime) -> Version:
        return Version(number, "run", built, ("champion",) * (number == "2"), {"cut": cut.isoformat()}, {}, "")

    day = timedelta(days=1)
    versions = [
        version("1", NOW - 9 * day, NOW - 9 * day),
        version("2", NOW + day, NOW + day),
        version("3", NOW - day, NOW + day),
        version("4", NOW + day, NOW - day),
    ]
    empty = erase_files(Path("nowhere"), Path("nowhere"), ANNA, NOW)
    result = report(empty, versions, NOW, NOW)
    assert [(model["version"], model["aliases"]) for model in result["models"]] == [("2", ["champion"])]
    assert report(empty, versions, None, None)["models"] == []
    json.dumps(result)
