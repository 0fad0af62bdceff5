"""No event at or after a cut reaches training: neither the evaluation twin's nor the model's."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.datasets.sources import Dataset
from components.embedding.embed import embed
from components.embedding.vectors import text_hash, write_vectors
from components.histories.sequences import build_sequences
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import take_snapshot
from components.training.run import (
    MODEL_ROLES,
    CriticalExpectationFailed,
    ModelRole,
    TrainingRun,
    extract_interests,
    validate_features,
    validate_snapshot,
)
from components.training.train import train
from tests.support.loading import ingest
from tests.support.toy_data import as_scipy

CUT = datetime(2024, 6, 1, tzinfo=UTC)
USERS, ITEMS, VISITS = 20, 12, 12
BEFORE_TWIN, AFTER_TWIN, AFTER_CUT = "walrus", "pelican", "narwhal"
"""Words unique to one item each: with events before both cuts, from the twin's cut on, and from the cut on."""


@dataclass(frozen=True)
class Trained:
    run: TrainingRun
    bundles: dict[ModelRole, Bundle]


def toy_dataset() -> Dataset:
    """Hourly visits of all users before the cut, then events that must not be used for training.

    The last visit of every user is of the pelican, at the same time. The 0.9 quantile of all times is there, so it is
    exactly the twin's cut. The narwhal has events at the microsecond of the cut and after it.
    """
    last = CUT - timedelta(hours=1)
    rows = [
        (f"u{user}", f"i{(user + step) % ITEMS}", last - timedelta(hours=VISITS - step, minutes=user), "like")
        for user in range(USERS)
        for step in range(VISITS)
    ]
    rows += [(f"u{user}", BEFORE_TWIN, CUT - timedelta(days=20), "like") for user in range(USERS)]
    rows += [(f"u{user}", AFTER_TWIN, last, "like") for user in range(USERS)]
    rows += [(f"u{user}", AFTER_TWIN, last + timedelta(microseconds=1), "view") for user in range(USERS)]
    rows += [(f"u{user}", AFTER_CUT, CUT + timedelta(hours=hours), "like") for user in range(USERS) for hours in (0, 1)]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"])
    events["timestamp"] = [moment.isoformat() for moment in events["timestamp"]]
    ids = [*(f"i{number}" for number in range(ITEMS)), BEFORE_TWIN, AFTER_TWIN, AFTER_CUT]
    items = pd.DataFrame({"item_id": ids, "title": [f"picture of {name}" for name in ids]})
    events["text"] = "about " + events["item_id"]
    return Dataset("shop", events, items)


@pytest.fixture(scope="module")
def run(database: str, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("home")
    settings = Settings(home=folder, cache=folder / "cache", database_url=database)
    settings.fusion = settings.fusion.model_copy(update={"epochs": 2, "width": 16, "window": 8})
    engine = make_engine(database)
    report = ingest(engine, toy_dataset(), settings, source="shop", now=CUT + timedelta(days=1))
    assert (report.rejected, report.accepted) == ({}, len(toy_dataset().events))
    snapshot = take_snapshot(engine, CUT, folder / "snapshots")
    engine.dispose()
    return TrainingRun.open(snapshot.path, settings)


@pytest.fixture(scope="module")
def interests(run: TrainingRun) -> pd.DataFrame:
    extract_interests(run)
    return pd.read_parquet(run.interests_file)


@pytest.fixture(scope="module")
def trained(run: TrainingRun, interests: pd.DataFrame) -> Trained:
    texts = pq.read_table(run.texts_file)[Columns.TEXT].to_pylist()
    embedded = embed(texts, run.settings.embedding, run.settings.cache, progress=False)
    write_vectors(run.vectors_file, [text_hash(text) for text in texts], embedded.vectors)
    return Trained(run, {role: Bundle.read(train(run, role, embedded.encoder)) for role in MODEL_ROLES})


def as_text(row: "pd.Series") -> str:
    """All values of an interests row as one text."""
    return " ".join(str(value) for value in row.tolist())


def test_the_data_have_events_on_both_sides_of_both_cuts(run: TrainingRun) -> None:
    assert run.cut("model") == CUT
    assert run.cut("twin") == CUT - timedelta(hours=1)
    kept = run.events("model")[Columns.ITEM].value_counts()
    assert kept[BEFORE_TWIN] == USERS
    assert kept[AFTER_TWIN] == 2 * USERS
    assert AFTER_TWIN in set(run.rolling.targets[Columns.ITEM])


@pytest.mark.parametrize("role", MODEL_ROLES)
def test_no_event_at_or_after_the_cut_is_in_the_training_events(run: TrainingRun, role: ModelRole) -> None:
    events = run.events(role)
    assert (events[Columns.OCCURRED_AT] < run.cut(role)).all()
    hidden = {AFTER_CUT, AFTER_TWIN} if role == "twin" else {AFTER_CUT}
    assert not hidden & set(events[Columns.ITEM])
    assert BEFORE_TWIN in set(events[Columns.ITEM])


def test_interests_contain_no_event_at_or_after_their_anchor(run: TrainingRun, interests: pd.DataFrame) -> None:
    texts = interests.apply(as_text, axis=1)
    assert (interests[Columns.AS_OF] <= CUT).all()
    assert not texts.str.contains(AFTER_CUT).any()
    early = interests[Columns.AS_OF] <= run.cut("twin")
    assert not texts[early].str.contains(AFTER_TWIN).any()
    assert texts[~early].str.contains(AFTER_TWIN).all()
    assert texts[early].str.contains(BEFORE_TWIN).any()


def test_the_texts_to_embed_are_those_of_the_catalogue_and_the_documents(
    run: TrainingRun, interests: pd.DataFrame
) -> None:
    documents = set(interests[[Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT]].to_numpy().ravel())
    texts = set(pq.read_table(run.texts_file)[Columns.TEXT].to_pylist())
    assert [text for text in texts - documents if AFTER_CUT in text] == [f"picture of {AFTER_CUT}"]
    assert not any(AFTER_CUT in text for text in documents)


@pytest.mark.parametrize("role", MODEL_ROLES)
def test_documents_are_as_of_the_cut_at_the_latest(trained: Trained, role: ModelRole) -> None:
    run = trained.run
    documents = run.documents(role)
    assert len(documents.as_of)
    assert documents.as_of.max() == run.cut(role).timestamp()
    rows = {item: row for row, item in enumerate(run.items[Columns.ITEM])}
    sequences = build_sequences(run.events(role), rows, run.settings.events, documents)
    assert sequences.times.max() < run.cut(role).timestamp()
    assert rows[AFTER_CUT] not in sequences.items
    has_document = sequences.anchors >= 0
    assert has_document.any()
    assert (documents.as_of[sequences.anchors[has_document]] < sequences.times[has_document]).all()


@pytest.mark.parametrize("role", MODEL_ROLES)
def test_a_bundle_contains_no_later_events(trained: Trained, role: ModelRole) -> None:
    bundle = trained.bundles[role]
    assert datetime.fromisoformat(bundle.manifest["cut"]) == trained.run.cut(role)
    items = bundle.items.to_pandas().set_index(Columns.ITEM)
    hidden = [AFTER_CUT, AFTER_TWIN] if role == "twin" else [AFTER_CUT]
    assert not items.loc[hidden, ["popularity", "recent", "trained"]].to_numpy().any()
    assert items.loc[BEFORE_TWIN, "popularity"] == USERS
    rows = [position for position, item in enumerate(items.index) if item in hidden]
    neighbours = as_scipy(bundle.neighbours)
    assert neighbours[rows].nnz == neighbours[:, rows].nnz == 0


def test_later_events_do_not_change_the_snapshot(run: TrainingRun) -> None:
    engine = make_engine(run.settings.database_url or "")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE occurred_at >= :cut"), {"cut": CUT})
    try:
        assert take_snapshot(engine, CUT, run.settings.home / "snapshots").path == run.snapshot_path
    finally:
        engine.dispose()


READERS: dict[str, Callable[[TrainingRun], object]] = {
    "interests.parquet": TrainingRun.interests,
    "texts.parquet": TrainingRun.texts,
    "keywords.npz": TrainingRun.keywords,
    "terms.json": TrainingRun.keywords,
    "vectors.parquet": lambda run: run.documents("twin"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_reported_with_the_remedy(trained: Trained, name: str, tmp_path: Path) -> None:
    run = replace(trained.run, folder=Path(shutil.copytree(trained.run.folder, tmp_path / "run")))
    intact, read = (run.folder / name).read_bytes(), READERS[name]
    flipped = bytearray(intact)
    flipped[len(intact) // 2] ^= 0x80
    for damaged in (bytes(flipped), intact[:-9], intact[: len(intact) // 2], b""):
        (run.folder / name).write_bytes(damaged)
        with pytest.raises(DuotempoError, match=rf"{name}.*(remove the folder|again)"):
            read(run)
    (run.folder / name).unlink()
    with pytest.raises(DuotempoError, match=name):
        read(run)


def test_valid_data_and_features_pass(trained: Trained) -> None:
    for report in (validate_snapshot(trained.run), validate_features(trained.run)):
        assert report.success
        assert report.docs.is_file()


@pytest.fixture
def run_with_invalid_value(run: TrainingRun, tmp_path: Path) -> Iterator[TrainingRun]:
    """A run on a snapshot with a value that every endpoint would reject."""
    engine = make_engine(run.settings.database_url or "")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO events (event_id, occurred_at, user_id, item_id, event, source, value)"
                " SELECT 'stranger', :at, 'u1', min(item_id), 'like', 'test', 1e300 FROM items"
            ),
            {"at": CUT - timedelta(minutes=1)},
        )
    settings = run.settings.model_copy(update={"home": tmp_path})
    yield TrainingRun.open(take_snapshot(engine, CUT, tmp_path / "snapshots").path, settings)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE event_id = 'stranger'"))
    engine.dispose()


def test_a_failed_critical_expectation_counts_the_rows_and_names_the_report(
    run_with_invalid_value: TrainingRun,
) -> None:
    with pytest.raises(CriticalExpectationFailed) as raised:
        validate_snapshot(run_with_invalid_value)
    message = str(raised.value)
    assert "events: Every value is finite. 1 of " in message
    docs = run_with_invalid_value.folder / "validation" / "snapshot" / "index.html"
    assert docs.as_uri() in message
    assert "1e+300" in docs.read_text(encoding="utf-8")
    assert not np.any(
        [(run_with_invalid_value.folder / name).exists() for name in ("interests.parquet", "twin", "model")]
    )
