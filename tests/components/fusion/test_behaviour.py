"""The trained model follows long-term and short-term interests."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.fusion.export import export_user_tower
from components.fusion.fit import fit
from components.fusion.model import FusionModel
from components.fusion.towers import LongTower
from components.histories.states import UserState
from components.ranking.scorer import Scorer
from tests.support import checkerboard as board

DAY = 86_400.0
NOW = board.CUT.timestamp()


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(board.trained().bundle)


def history(black: int, white: int, white_days_ago: float, signal: float = 1.0) -> UserState:
    """A history of black squares over the last months, then a burst of white ones."""
    items = [*np.flatnonzero(board.BLACK)[:black], *np.flatnonzero(~board.BLACK)[:white]]
    days = [*np.linspace(90, 30, black), *np.linspace(white_days_ago + 0.01, white_days_ago, white)]
    signals = [1.0] * black + [signal] * white
    return UserState(np.array(items), NOW - DAY * np.array(days), np.array(signals, dtype=np.float32), NOW)


def leaning_to_white(scorer: Scorer, state: UserState) -> float:
    """Mean score of unseen white squares minus that of unseen black ones."""
    total = scorer.score([state]).total[0]
    unseen = ~np.isin(np.arange(board.ITEMS), state.items)
    return float(total[unseen & ~board.BLACK].mean() - total[unseen & board.BLACK].mean())


def test_a_burst_changes_the_next_list(scorer: Scorer) -> None:
    before, burst = history(10, 0, 0), history(10, 4, 0.01)
    assert leaning_to_white(scorer, before) < 0
    assert leaning_to_white(scorer, burst) > leaning_to_white(scorer, before)


def test_an_old_interest_returns_when_the_burst_has_faded(scorer: Scorer) -> None:
    fresh, faded = history(10, 4, 0.01), history(10, 4, 29)
    assert leaning_to_white(scorer, faded) < leaning_to_white(scorer, fresh)
    shares = scorer.score([fresh, faded]).long_share
    assert shares[1] > shares[0]


def test_a_dislike_lowers_its_neighbours(scorer: Scorer) -> None:
    before, disliked = history(10, 0, 0), history(10, 2, 0.01, signal=-1.0)
    assert leaning_to_white(scorer, disliked) < leaning_to_white(scorer, before)


def test_documents_change_the_scores(scorer: Scorer) -> None:
    plain = history(3, 3, 5.0)
    with_documents = replace(plain, documents=np.eye(2, board.DIMENSION, dtype=np.float32))
    totals = scorer.score([plain, with_documents]).total
    assert not np.allclose(totals[0], totals[1], atol=1e-3)


def test_a_new_item_is_scored_by_its_text() -> None:
    events = board.events()
    events = events[events["item_id"] != "i0"]
    bundle = fit(
        events,
        board.catalogue(),
        board.documents(),
        board.settings(),
        cut=board.CUT,
        held_out="last",
    ).bundle
    assert not bundle.items["trained"][0].as_py()
    black, white = np.flatnonzero(board.BLACK)[1:7], np.flatnonzero(~board.BLACK)[1:7]
    scores = Scorer(bundle).score(
        [UserState(own, np.full(6, NOW - 60), np.ones(6, np.float32), NOW) for own in (black, white)]
    )
    assert scores.total[0, 0] > scores.total[1, 0]
    np.testing.assert_allclose(bundle.vectors[0], (bundle.texts[0] - bundle.text_mean) @ bundle.text_matrix, atol=1e-5)


def test_onnx_and_torch_agree() -> None:
    """The ONNX graph, which covers the last event only, equals torch there, for other batch sizes and history lengths
    than the exported example."""
    import onnxruntime

    torch.manual_seed(0)
    chosen = board.settings().fusion
    model = FusionModel(
        chosen, torch.randn(9, 5), torch.ones(9, dtype=torch.bool), (torch.randn(2, 6), torch.randn(6, 5)), 30.0
    ).eval()
    session = onnxruntime.InferenceSession(export_user_tower(model.user, chosen.width, 6))
    inputs = (
        torch.randn(3, 21, chosen.width), torch.rand(3, 21) * 50, torch.randn(3, 21).sign(), torch.randn(3, 2, 6),
        torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
    )  # fmt: skip
    names = ("vectors", "ages", "signals", "documents", "present")
    served = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    vectors, ages, signals, documents, present = inputs
    with torch.inference_mode():
        read = model.user.read(documents[:, None], present[:, None])
        trained = model.user(vectors, ages, signals, ages[:, -model.window :], read)
        for ours, theirs in zip(trained, served, strict=True):
            np.testing.assert_allclose(ours[:, -1].numpy(), theirs, atol=1e-5)


def test_the_short_tower_is_causal() -> None:
    torch.manual_seed(0)
    chosen = board.settings().fusion
    model = FusionModel(chosen, torch.randn(9, 5), torch.ones(9, dtype=torch.bool), None, 30.0).eval()
    window = chosen.window
    vectors, ages = torch.randn(1, window, chosen.width), torch.arange(window, 0, -1.0)[None]
    other = vectors.clone()
    other[:, -1] = torch.randn(chosen.width)
    rest = (torch.ones(1, window), torch.zeros(1, window), ())
    with torch.inference_mode():
        for before, after in zip(model.user(vectors, ages, *rest), model.user(other, ages, *rest), strict=True):
            np.testing.assert_allclose(before[:, :-1], after[:, :-1], atol=1e-6)
            assert not torch.allclose(before[:, -1], after[:, -1])


def test_a_later_gap_does_not_change_an_earlier_interest() -> None:
    """The interest after an event does not depend on how much later the next event is."""
    tower = LongTower(4, half_life_days=7.0, dropout=0.0).eval()
    vectors, signals = torch.randn(1, 3, 4), torch.ones(1, 3)
    with torch.inference_mode():
        near = tower(vectors, torch.tensor([[1.0, 0.5, 0.0]]), signals, 3)
        far = tower(vectors, torch.tensor([[2000.0, 1999.5, 0.0]]), signals, 3)
    np.testing.assert_allclose(near[:, 0], far[:, 0], atol=1e-5)
    assert near[:, 0].abs().max() > 0.1
