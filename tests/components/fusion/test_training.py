"""Windows, validation split, checkpoints, and blending weights."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from components.fusion.fit import fit
from components.fusion.packing import item_table, neighbours
from components.fusion.training import TrainingError
from components.fusion.validation import choose_blending_weights, hold_out
from components.histories.sequences import Documents, WindowSampler, build_sequences
from components.histories.states import UserState
from components.ranking.scorer import Scorer
from components.settings import FusionSettings, Settings
from tests.support import checkerboard as board
from tests.support.checkerboard import sequences


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 7), st.integers(7, 40), st.integers(0, 1000)
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_each_event_but_the_first_is_a_target_once(lengths: list[int], window: int, history: int, seed: int) -> None:
    data = sequences(lengths)
    learned = []
    for batch in WindowSampler(data, FusionSettings(window=window, batch_size=4), history).epoch(
        np.random.default_rng(seed)
    ):
        for row, targets in enumerate(batch.targets):
            for position, target in enumerate(targets):
                if target < 0:
                    continue
                learned.append(target)
                end = batch.items.shape[1] - len(targets) + position + 1
                context = batch.items[row, :end][batch.signals[row, :end] != 0]
                assert (context < target).all()
                assert context[-1] == target - 1
    starts = set(data.offsets[:-1].tolist())
    assert sorted(learned) == [event for event in range(sum(lengths)) if event not in starts]


def test_held_out_events_are_no_targets() -> None:
    events = build_sequences(board.events(), board.catalogue().rows, Settings().events, Documents.none(4))
    learned, validation = hold_out(events, board.ITEMS, Documents.none(4), "last", seed=0)
    masked = np.flatnonzero(learned.signals == 0)
    assert len(masked) == len(validation.states) > 0
    np.testing.assert_array_equal(events.items[masked], validation.targets)
    for state, target in zip(validation.states, validation.targets, strict=True):
        assert target not in state.items


def test_documents_count_only_after_their_anchor() -> None:
    documents = Documents(
        np.array(["a", "a", "b"], dtype=object), np.array([10.0, 20.0, 5.0]), np.ones((3, 2, 4), np.float32)
    )
    moments = np.array([10.0, 10.5, 25.0, 5.0, 6.0])
    rows = documents.latest_before(np.array(["a", "a", "a", "b", "c"], dtype=object), moments)
    assert rows.tolist() == [-1, 0, 1, -1, -1]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"

    def run(learning_rate: float) -> None:
        chosen = board.settings(epochs=4, learning_rate=learning_rate)
        fit(
            board.events(), board.catalogue(), Documents.none(16), chosen,
            cut=board.CUT, held_out="last", checkpoint=checkpoint,
        )  # fmt: skip

    run(1e-3)
    before = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=r"epoch \d+, batch \d+.*LEARNING_RATE"):
        run(1e30)
    assert checkpoint.read_bytes() == before


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    chosen = board.settings(epochs=2)
    parts = (board.events(), board.catalogue(), Documents.none(16), chosen)
    whole = fit(*parts, cut=board.CUT, held_out="last", checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    again = fit(*parts, cut=board.CUT, held_out="last", checkpoint=checkpoint)
    np.testing.assert_array_equal(whole.bundle.vectors, again.bundle.vectors)


def test_without_a_validation_split_all_epochs_are_trained() -> None:
    events = board.events().groupby("user_id").head(2)
    fitted = fit(
        events,
        board.catalogue(),
        Documents.none(16),
        board.settings(epochs=3),
        cut=board.CUT,
        held_out="last",
    )
    assert fitted.progress.best_epoch == fitted.progress.epoch == 3
    assert fitted.bundle.manifest["mixture"]["popularity"] > 0


def test_too_few_events_raise_a_training_error() -> None:
    events = board.events().groupby("user_id").head(1)
    with pytest.raises(TrainingError, match="ingest more events"):
        fit(
            events,
            board.catalogue(),
            Documents.none(16),
            board.settings(),
            cut=board.CUT,
            held_out="last",
        )


KILLED = """
import sys
from pathlib import Path
from tests.support import checkerboard as board
def report(progress):
    print(progress.epoch, flush=True)
    if progress.epoch == 8:
        sys.stdin.read()
board.fitted(board.settings(epochs=12, patience=100), checkpoint=Path(sys.argv[1]), on_epoch=report)
"""
"""Blocks after the eighth epoch, in case the kill comes late."""


def test_a_killed_training_resumes_and_ends_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    root, checkpoint = Path(__file__).parents[3], tmp_path / "broken"
    command = [sys.executable, "-c", KILLED, str(checkpoint)]
    broken = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert broken.stdout is not None
    while int(broken.stdout.readline()) < 4:
        pass
    broken.kill()
    broken.communicate()
    assert broken.returncode == -signal.SIGKILL
    chosen, epochs = board.settings(epochs=12, patience=100), list[int]()
    resumed = board.fitted(chosen, checkpoint=checkpoint, on_epoch=lambda progress: epochs.append(progress.epoch))
    assert epochs[0] > 4
    assert epochs[-1] == 12
    resumed.bundle.write(tmp_path / "b")
    whole = board.fitted(chosen, checkpoint=tmp_path / "whole")
    assert whole.progress.losses == resumed.progress.losses
    whole.bundle.write(tmp_path / "a")
    for name in ("vectors.npy", "user_tower.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_large_catalogues_train_with_sampled_negatives() -> None:
    bundle = board.fitted(board.settings(full_softmax_below=10, negatives=20)).bundle
    own = np.flatnonzero(board.BLACK)[:5]
    now = board.CUT.timestamp()
    total = Scorer(bundle).score([UserState(own, np.full(5, now - 60), np.ones(5, np.float32), now)]).total[0]
    total[own] = -np.inf
    assert board.BLACK[np.argsort(-total)[:8]].mean() >= 0.8


def replace_fusion(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"fusion": settings.fusion.model_copy(update=changes)})


def test_blending_weights_are_chosen_without_the_held_out_events() -> None:
    """The bundle counts the held-out events, but its weights are those chosen without them."""
    catalogue, documents, chosen = board.catalogue(), board.documents(), board.settings(epochs=2)
    everything = build_sequences(board.events(), catalogue.rows, chosen.events, documents)
    learned, validation = hold_out(everything, board.ITEMS, documents, "last", seed=0)
    bundle = fit(board.events(), catalogue, documents, chosen, cut=board.CUT, held_out="last").bundle
    assert bundle.items["popularity"].to_pylist() == np.bincount(everything.items, minlength=board.ITEMS).tolist()
    assert abs(bundle.neighbours - neighbours(everything, board.ITEMS, chosen)).max() == 0
    unfinished = replace_fusion(chosen, finish_epochs=0)
    blind = replace(
        fit(board.events(), catalogue, documents, unfinished, cut=board.CUT, held_out="last").bundle,
        items=item_table(catalogue.items, learned, np.ones(board.ITEMS, dtype=bool), board.CUT),
        neighbours=neighbours(learned, board.ITEMS, chosen),
    )
    assert bundle.manifest["mixture"] == pytest.approx(choose_blending_weights(blind, validation))
