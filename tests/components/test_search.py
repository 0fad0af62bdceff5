"""Hyper-parameter search on toy data: all users walk along the same circle of items."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import text

from components.core.columns import Columns
from components.datasets.sources import Dataset
from components.embedding.vectors import text_hash, write_vectors
from components.search import preset, study
from components.search.space import SPACE, ImpossibleValues, SearchError, current_values, space, with_values
from components.settings import PRESETS, EventSettings, Settings
from components.store.engine import make_engine
from components.store.snapshot import take_snapshot
from components.training.run import TrainingRun, extract_interests
from tests.support.loading import ingest

CUT = datetime(2024, 6, 1, tzinfo=UTC)
USERS, ITEMS, VISITS = 60, 40, 10
ENCODER = "words"
USELESS_RATE = 1e-6
"""A learning rate too low to learn anything in a few epochs."""


def circular_walks() -> Dataset:
    """Each user starts somewhere on the circle and moves by one item per hour, so the next item is certain."""
    rows = [
        (f"u{user}", f"i{(user + step) % ITEMS}", CUT - timedelta(hours=VISITS - step, minutes=user % 50), "like")
        for user in range(USERS)
        for step in range(VISITS)
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"])
    events["timestamp"] = [moment.isoformat() for moment in events["timestamp"]]
    items = pd.DataFrame({"item_id": [f"i{number}" for number in range(ITEMS)]})
    return Dataset("walks", events, items.assign(title="thing " + items["item_id"]))


@pytest.fixture(scope="module")
def snapshot(database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the circular walks."""
    engine = make_engine(database)
    ingest(engine, circular_walks(), Settings(), source="walks", now=CUT + timedelta(days=1))
    taken = take_snapshot(engine, CUT, tmp_path_factory.mktemp("snapshots"))
    engine.dispose()
    return taken.path


def settings(home: Path, learning_rate: float = USELESS_RATE) -> Settings:
    base_settings = Settings(home=home)
    chosen: dict[str, float] = {
        "epochs": 10,
        "validate_every": 1,
        "patience": 2,
        "batch_size": 8,
        "width": 32,
        "blocks": 1,
    }
    chosen["learning_rate"] = learning_rate
    base_settings.fusion = base_settings.fusion.model_copy(update=chosen)
    base_settings.interests = base_settings.interests.model_copy(update={"anchors": 0})
    return base_settings


@pytest.fixture
def run(snapshot: Path, tmp_path: Path) -> TrainingRun:
    return TrainingRun.open(snapshot, settings(tmp_path))


@pytest.fixture
def good_run(snapshot: Path, tmp_path: Path) -> TrainingRun:
    """A run whose current settings learn the circle."""
    return TrainingRun.open(snapshot, settings(tmp_path, learning_rate=1e-2))


def run_trials(run: TrainingRun, trials: int) -> optuna.Study:
    """Opens the study again, as another process would, and runs trials up to the given number."""
    opened = study.open_study(run)
    while len(study.finished_trials(opened)) < trials:
        run_trial(opened, run)
    return opened


def run_trial(opened: optuna.Study, run: TrainingRun) -> FrozenTrial:
    trial = study.ask(opened, run)
    run_of_trial = study.trial_run(run, trial.params)
    if not run_of_trial.vectors_file.is_file():
        write_words(run_of_trial)
    return study.measure(opened, trial, run_of_trial, ENCODER)


def write_words(run: TrainingRun) -> None:
    """Writes the interests of a run, and a random vector per text instead of an encoder's."""
    texts = pq.read_table(extract_interests(run))[Columns.TEXT].to_pylist()
    vectors = [np.random.default_rng(int(text_hash(document)[:8], 16)).normal(size=8) for document in texts]
    write_vectors(run.vectors_file, [text_hash(document) for document in texts], np.array(vectors))


def results(opened: optuna.Study) -> list[tuple[dict[str, Any], TrialState, float | None]]:
    return [(trial.params, trial.state, trial.value) for trial in study.finished_trials(opened)]


def test_the_first_trial_uses_current_settings_and_a_better_one_is_found(run: TrainingRun) -> None:
    opened = run_trials(run, 5)
    first, best = study.finished_trials(opened)[0], study.best(opened)
    assert first.params == current_values(run.settings)
    assert first.params["fusion.learning_rate"] == USELESS_RATE
    assert best.number != first.number
    assert best.value is not None and first.value is not None and best.value > 0.5 > first.value
    assert best.value == max(best.intermediate_values.values())


def test_current_settings_win_when_nothing_is_better(good_run: TrainingRun) -> None:
    opened = study.open_study(good_run)
    opened.enqueue_trial({**current_values(good_run.settings), "fusion.learning_rate": 3e-4})
    first, worse = run_trial(opened, good_run), run_trial(opened, good_run)
    assert worse.value is not None and first.value is not None and worse.value < first.value
    assert study.best(opened).number == first.number == 0


def test_an_interrupted_search_continues_like_an_uninterrupted_one(run: TrainingRun) -> None:
    run.settings.fusion.epochs = 3
    whole = results(run_trials(run, 4))
    other = replace(run, folder=run.folder.parent / "other")
    interrupted = run_trials(other, 2)
    study.ask(interrupted, other)  # its process is killed before it reports a value
    assert results(run_trials(other, 4)) == whole
    assert results(run_trials(other, 3)) == whole  # finished trials are not repeated


def test_other_current_settings_have_a_separate_study(run: TrainingRun, good_run: TrainingRun) -> None:
    assert run.folder == good_run.folder
    assert len(study.finished_trials(run_trials(run, 1))) == 1
    assert study.finished_trials(study.open_study(good_run)) == []


def test_events_after_the_cut_do_not_affect_values(run: TrainingRun, database: str, tmp_path: Path) -> None:
    """Two data sets that differ only in the items of the events that the gate evaluates on."""
    run.settings.fusion.epochs = 3
    engine = make_engine(database)
    with engine.begin() as connection:
        later = "UPDATE events SET item_id = 'i0' WHERE occurred_at >= :cut"
        connection.execute(text(later), {"cut": run.cut("twin").to_pydatetime()})
    other = TrainingRun.open(take_snapshot(engine, CUT, tmp_path / "snapshots").path, run.settings)
    engine.dispose()
    assert other.cut("twin") == run.cut("twin")
    assert not other.rolling.events[Columns.ITEM].equals(run.rolling.events[Columns.ITEM])
    assert results(run_trials(other, 2)) == results(run_trials(run, 2))


def test_a_trial_below_the_median_is_pruned(good_run: TrainingRun) -> None:
    opened = study.open_study(good_run)
    limits = space(good_run.settings)
    for _ in range(5):
        curve = dict.fromkeys(range(1, 11), 0.99)
        values = current_values(good_run.settings)
        opened.add_trial(create_trial(params=values, distributions=limits, value=0.99, intermediate_values=curve))
    pruned = run_trial(opened, good_run)
    assert pruned.state == TrialState.PRUNED
    assert sorted(pruned.intermediate_values) == [1, 2]
    assert pruned in study.finished_trials(opened)


def test_invalid_combinations_fail_the_trial_with_a_reason(run: TrainingRun) -> None:
    run.settings.fusion = run.settings.fusion.model_copy(update={"heads": 3, "width": 48})
    opened = study.open_study(run)
    opened.enqueue_trial({**current_values(run.settings), "fusion.width": 32})
    study.ask(opened, run)
    trial = study.ask(opened, run)
    with pytest.raises(ImpossibleValues) as raised:
        study.trial_run(run, trial.params)
    failed = study.fail(opened, trial, raised.value)
    assert "heads (3) must divide width (32)" in failed.user_attrs[study.REASON]
    assert [trial.number for trial in study.finished_trials(opened)] == [failed.number]
    with pytest.raises(SearchError, match=r"no trial was completed: .*heads \(3\)"):
        study.best(opened)


def test_trials_with_the_same_interests_share_documents(run: TrainingRun) -> None:
    usual = current_values(run.settings)
    other = {**usual, "fusion.width": 96}
    assert study.trial_run(run, usual).folder == study.trial_run(run, other).folder
    recent = study.trial_run(run, {**usual, "interests.short_days": 3.0})
    assert recent.folder != study.trial_run(run, usual).folder
    assert recent.settings.interests.short_days == 3.0
    without_finish = run.settings.fusion.model_copy(update={"finish_epochs": 0})
    assert recent.settings.fusion == without_finish != run.settings.fusion


def test_the_space_includes_the_current_values() -> None:
    values = {"fusion.learning_rate": 0.5, "fusion.blocks": 7, "fusion.width": 40, "fusion.dropout": 0.2}
    limits = space(with_values(Settings(), values))
    for name, value in values.items():
        assert limits[name]._contains(limits[name].to_internal_repr(value)), name
    assert limits["fusion.dropout"] == SPACE["fusion.dropout"]


def test_the_preset_reproduces_the_best_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ran with the preset `shop`, whose values are kept."""
    base = Settings(preset="shop", home=tmp_path, database_url="postgresql://me:s3cret@db/x")
    found = with_values(base, {"fusion.learning_rate": 0.0031, "fusion.width": 96, "interests.short_days": 3.0})
    file = preset.custom_preset_file(tmp_path, "found")
    preset.write_preset(file, found, {"study": "abc, 7 trials"})
    written = file.read_text()
    assert written.startswith("# study: abc, 7 trials\n")
    assert "s3cret" not in written and "epochs" not in written
    monkeypatch.setenv("DUOTEMPO_PRESET", "found")
    monkeypatch.setenv("DUOTEMPO_HOME", str(tmp_path))
    loaded = Settings()
    for section in preset.SECTIONS:
        assert getattr(loaded, section) == getattr(found, section), section
    assert (loaded.fusion.width, loaded.events.weights["view"]) == (96, base.events.weights["view"])
    assert preset.shadowed("found", found) == []
    monkeypatch.setenv("DUOTEMPO_FUSION__WIDTH", "64")
    assert preset.shadowed("found", found) == ["fusion.width"]


def test_custom_presets_are_found_in_the_home_of_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset.write_preset(preset.custom_preset_file(tmp_path / "there", "found"), Settings(preset="demo"), {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUOTEMPO_HOME", raising=False)
    (tmp_path / "duotempo.toml").write_text('home = "there"\n')
    assert Settings(preset="found").fusion == Settings(preset="demo").fusion != Settings().fusion


def test_an_unknown_preset_error_lists_packaged_and_custom_presets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the presets are: content, demo, learning, shop, social; .*: none"):
        Settings(preset="quickest", home=tmp_path)
    preset.write_preset(preset.custom_preset_file(tmp_path, "found"), Settings(), {})
    with pytest.raises(ValueError, match=r"shop, social; your own in .*: found"):
        Settings(preset="quickest", home=tmp_path)


def test_a_packaged_preset_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="'shop' is a packaged preset"):
        preset.custom_preset_file(tmp_path, "shop")
    for name in ("../shop", "Shop", "", "a b"):
        with pytest.raises(SearchError, match="cannot be named"):
            preset.custom_preset_file(tmp_path, name)


@pytest.mark.parametrize("file", sorted(PRESETS.glob("*.toml")), ids=lambda file: file.stem)
def test_a_packaged_preset_loads_and_starts_with_a_comment(file: Path) -> None:
    loaded = Settings(preset=file.stem)
    assert preset.differences(loaded)
    assert file.read_text().startswith("# ")


@pytest.mark.parametrize("name", ["shop", "social", "learning", "content"])
def test_a_preset_of_a_kind_of_site_has_its_own_weights_and_windows(name: str) -> None:
    loaded = Settings(preset=name)
    assert loaded.events.weights != EventSettings().weights
    assert {"half_life_days", "short_days"} <= preset.differences(loaded)["interests"].keys()
    assert "not measured" in (PRESETS / f"{name}.toml").read_text()
