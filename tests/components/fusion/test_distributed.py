"""Distributed training: processes stay identical, split the targets, and learn what one process would."""

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import distributed, multiprocessing
from torch.optim.swa_utils import AveragedModel

from components.fusion.model import FusionModel
from components.fusion.training import Progress, train, train_epoch
from components.fusion.validation import hold_out
from components.histories.sequences import Documents, Sequences, Windows, WindowSampler, build_sequences
from components.settings import FusionSettings
from tests.support import checkerboard as board
from tests.support.checkerboard import sequences

WORLD_SIZE = 2
NO_AUGMENTATION = board.settings(
    dropout=0.0, id_dropout=0.0, item_dropout=0.0, gap_dropout=0.0, anchor_dropout=0.0
).fusion


def histories() -> Sequences:
    """The toy data, without documents."""
    return build_sequences(board.events(), board.catalogue().rows, board.settings().events, Documents.none())


def make_model(settings: FusionSettings) -> FusionModel:
    """A model without documents, initialised from the seed."""
    torch.manual_seed(settings.seed)
    texts = torch.from_numpy(board.catalogue().texts)
    return FusionModel(settings, texts, torch.ones(board.ITEMS, dtype=torch.bool), None, 60.0)


def largest_batch() -> Windows:
    """The largest batch of an epoch of the toy data."""
    batches = WindowSampler(histories(), NO_AUGMENTATION, history=50).epoch(np.random.default_rng(0))
    return max(batches, key=lambda windows: len(windows.targets))


def rows(windows: Windows, part: slice) -> Windows:
    """Some windows of a batch."""
    return Windows(*(column[part] for column in astuple(windows)))


def step(batch: Windows) -> dict[str, Any]:
    """The mean loss and the parameters after one step of gradient descent."""
    model = make_model(NO_AUGMENTATION)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = train_epoch(model, AveragedModel(model), optimizer, [batch], Documents.none(), NO_AUGMENTATION, 1)
    return {"loss": loss, **{name: value.detach().clone() for name, value in model.named_parameters()}}


class Killed(Exception):
    """Simulates a killed process."""


def train_toy_data(seed: int, checkpoint: Path, killed_after: int | None = None) -> dict[str, Any]:
    """The weights, losses and validations of a training. seed: of the initial weights."""

    def watch(progress: Progress) -> None:
        if progress.epoch == killed_after:
            raise Killed

    learned, validation = hold_out(histories(), board.ITEMS, Documents.none(), "last", seed=0)
    chosen = board.settings(epochs=4, patience=100).fusion
    model = make_model(chosen.model_copy(update={"seed": seed}))
    progress = train(
        model, learned, Documents.none(), validation, chosen, history=50, checkpoint=checkpoint, on_epoch=watch
    )
    return {**model.state_dict(), "losses": progress.losses, "validations": progress.validations}


def run_process(rank: int, folder: Path) -> None:
    """Runs in each process and saves its results to `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD_SIZE)
    whole = train_toy_data(rank, folder / "whole.checkpoint")
    with pytest.raises(Killed):
        train_toy_data(rank, folder / "broken.checkpoint", killed_after=2)
    distributed.barrier()
    batch = largest_batch()
    third = len(batch.targets) // 3
    nothing = replace(batch, targets=np.full_like(batch.targets, -1))
    results = {
        "whole": whole,
        "resumed": train_toy_data(rank, folder / "broken.checkpoint"),
        "unequal": step(rows(batch, slice(third) if rank == 0 else slice(third, None))),
        "one alone": step(batch if rank == 0 else nothing),
    }
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of the two processes."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(run_process, (folder,), nprocs=WORLD_SIZE)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD_SIZE)]


def assert_equal(results: dict[str, Any], expected: dict[str, Any], *, rtol: float, atol: float) -> None:
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(results[name], value, rtol=rtol, atol=atol)


def test_all_processes_end_with_the_same_weights_losses_and_validations(results: list[dict[str, Any]]) -> None:
    first, second = results
    assert_equal(first["whole"], second["whole"], rtol=0, atol=0)
    assert first["whole"]["losses"][-1] < first["whole"]["losses"][0]


def test_a_run_of_several_processes_resumes_as_if_it_had_not_been_killed(results: list[dict[str, Any]]) -> None:
    for each in results:
        assert_equal(each["resumed"], each["whole"], rtol=0, atol=0)


@pytest.mark.parametrize("case", ["unequal", "one alone"])
def test_a_step_of_two_processes_is_the_step_of_one_on_both_batches(results: list[dict[str, Any]], case: str) -> None:
    alone = step(largest_batch())
    for each in results:
        assert_equal(each[case], alone, rtol=1e-4, atol=1e-6)


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 5), st.integers(0, 1000))
@hypothesis_settings(max_examples=60, deadline=None)
def test_processes_learn_each_target_once_in_equally_many_steps(lengths: list[int], processes: int, seed: int) -> None:
    data = sequences(lengths)
    sampler = WindowSampler(data, NO_AUGMENTATION.model_copy(update={"batch_size": 2}), history=20)
    shares = [list(sampler.epoch(np.random.default_rng(seed), rank, processes)) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    learned = [windows.targets[windows.targets >= 0] for share in shares for windows in share]
    following = set(range(sum(lengths))) - set(data.offsets[:-1].tolist())
    assert sorted(np.concatenate([[], *learned])) == sorted(following)
