"""Measures against imbalance: negatives and augmentation."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.core.columns import Columns
from components.fusion.fit import fit
from components.fusion.step import sampled_softmax_loss, softmax_loss
from components.histories.sequences import Sequences, WindowSampler, with_shuffled_ties
from components.settings import FusionSettings
from tests.support import checkerboard as board

ITEMS, TARGETS = 40, 300


def scores(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Users, items and targets; a few popular targets dominate the batch."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.randn(TARGETS, 6, generator=generator)
    items = torch.randn(ITEMS, 6, generator=generator) * 0.5
    popular = torch.distributions.Geometric(torch.tensor(0.3))
    torch.manual_seed(seed)
    return users, items, popular.sample((TARGETS,)).long().clamp(max=ITEMS - 1)


def gradient(uniform: int, in_batch: int, draws: int) -> torch.Tensor:
    """Mean gradient of the items over many samples of negatives."""
    users, items, targets = scores()
    items.requires_grad_()
    torch.manual_seed(1)
    for _ in range(draws):
        (sampled_softmax_loss(users, items, targets, uniform, in_batch) / TARGETS / draws).backward()
    assert items.grad is not None
    return items.grad


def full_softmax_gradient() -> torch.Tensor:
    users, items, targets = scores()
    items.requires_grad_()
    (softmax_loss(users, items, targets) / TARGETS).backward()
    assert items.grad is not None
    return items.grad


def test_corrected_in_batch_negatives_approximate_the_full_softmax() -> None:
    sampled, full = gradient(uniform=200, in_batch=200, draws=30), full_softmax_gradient()
    assert torch.cosine_similarity(sampled.flatten(), full.flatten(), dim=0) > 0.99


def test_without_correction_popular_items_are_penalised() -> None:
    """The same sample with uncorrected logits gives a different gradient for the most popular item."""
    users, items, targets = scores()
    items.requires_grad_()
    torch.manual_seed(1)
    sampled = torch.cat([torch.randint(ITEMS, (200,)), targets[torch.randint(TARGETS, (200,))]])
    negative_logits = (users @ items[sampled].T).masked_fill(sampled[None] == targets[:, None], -torch.inf)
    logits = torch.cat([(users * items[targets]).sum(1, keepdim=True), negative_logits], dim=1)
    torch.nn.functional.cross_entropy(logits, torch.zeros(TARGETS, dtype=torch.long)).backward()
    assert items.grad is not None
    corrected, full = gradient(uniform=200, in_batch=200, draws=30), full_softmax_gradient()
    assert (items.grad[0] - full[0]).norm() > 3 * (corrected[0] - full[0]).norm()


def histories(lengths: list[int], seed: int = 0) -> Sequences:
    rng, total = np.random.default_rng(seed), sum(lengths)
    return Sequences(
        users=np.array([f"u{n}" for n in range(len(lengths))], dtype=object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=rng.integers(0, 5, total),
        times=np.concatenate([np.sort(rng.integers(0, 4, length)) for length in lengths]).astype(np.float64),
        signals=rng.choice([0.3, 1.0, -1.0], total).astype(np.float32),
        anchors=rng.integers(-1, 9, total),
    )


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 99))
def test_shuffling_ties_changes_only_their_order(lengths: list[int], seed: int) -> None:
    given_histories = histories(lengths, seed)
    other = with_shuffled_ties(given_histories, np.random.default_rng(seed))
    np.testing.assert_array_equal(other.times, given_histories.times)
    for start, end in zip(given_histories.offsets, given_histories.offsets[1:], strict=False):
        for moment in np.unique(given_histories.times[start:end]):
            at = start + np.flatnonzero(given_histories.times[start:end] == moment)
            rows = [
                sorted(zip(each.items[at], each.signals[at], each.anchors[at], strict=True))
                for each in (given_histories, other)
            ]
            assert rows[0] == rows[1]


def test_the_order_of_ties_depends_on_the_epoch_alone() -> None:
    data = histories([40])
    sampler = WindowSampler(data, FusionSettings(window=50, shuffle_ties=True), 50)
    first = [next(iter(sampler.epoch(np.random.default_rng(epoch)))).items for epoch in (1, 2, 1)]
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(first[0], first[2])


def test_a_batch_without_targets_is_skipped() -> None:
    """One user per batch; half of the users have only hidden items, so their batches have no targets."""
    chosen = board.settings(full_softmax_below=10, negatives=8, in_batch_negatives=8, batch_size=1, epochs=2)
    events = board.events()
    events = events[events[Columns.USER].isin([f"u{user}" for user in range(20)])].copy()
    quiet = events[Columns.USER].isin([f"u{user}" for user in range(0, 20, 2)])
    events.loc[quiet, Columns.EVENT] = "hide"
    fitted = fit(events, board.catalogue(), board.documents(), chosen, cut=board.CUT, held_out="last")
    assert np.isfinite(fitted.progress.losses).all()
