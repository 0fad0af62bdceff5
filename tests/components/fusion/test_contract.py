"""What every fusion must pass; one of one's own is tested by its line in FUSIONS."""

from pathlib import Path

import numpy as np
import pytest
import torch

from components.bundle import Bundle
from components.fusion.fit import Fitted, fit
from components.fusion.fusions import CONTEXT, FUSIONS, UnknownFusion, make_fusion
from components.ranking.scorer import Scorer
from components.ranking.states import UserState
from tests.components.fusion import world

HOUR = 3600.0


def fitted(kind: str, order: np.ndarray | None = None) -> Fitted:
    torch.set_num_threads(1)
    return fit(
        world.events(), world.catalogue(order), world.documents(), world.settings(kind), cut=world.CUT, held_out="last"
    )


@pytest.fixture(scope="module", params=FUSIONS)
def trained(request: pytest.FixtureRequest) -> Fitted:
    return fitted(request.param)


def state(items: list[int], hours_ago: float = 1.0, signal: float = 1.0) -> UserState:
    now = world.CUT.timestamp()
    times = now - HOUR * (hours_ago + np.arange(len(items))[::-1])
    return UserState(np.array(items, dtype=np.int64), times, np.full(len(items), signal, np.float32), now)


@pytest.mark.parametrize("kind", FUSIONS)
def test_parts_have_the_shape_of_the_towers_and_stay_finite(kind: str) -> None:
    fusion = make_fusion(kind, 6)
    long, short = torch.randn(3, 5, 6), torch.randn(3, 5, 6)
    parts = fusion(long, short, torch.rand(3, 5, CONTEXT))
    assert [part.shape for part in parts] == [long.shape, short.shape]
    assert all(torch.isfinite(part).all() for part in parts)


@pytest.mark.parametrize("kind", FUSIONS)
def test_no_short_term_interest_leaves_no_short_part(kind: str) -> None:
    _, short = make_fusion(kind, 6)(torch.randn(4, 6), torch.zeros(4, 6), torch.rand(4, CONTEXT))
    assert torch.equal(short, torch.zeros(4, 6))


def test_an_unknown_fusion_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownFusion, match="gated"):
        make_fusion("magic", 6)


def test_black_squares_for_people_of_the_black_squares(trained: Fitted) -> None:
    scorer = Scorer(trained.bundle)
    for colour in (world.BLACK, ~world.BLACK):
        own = np.flatnonzero(colour)
        total = scorer.score([state(own[:6].tolist())]).total[0]
        total[own[:6]] = -np.inf
        best = np.argsort(-total)[:10]
        assert colour[best].mean() >= 0.9


def test_padding_changes_nothing(trained: Fitted) -> None:
    scorer = Scorer(trained.bundle)
    short, long = state([0, 2, 4]), state(list(range(0, 40, 2)))
    alone = scorer.score([short]).total[0]
    beside = scorer.score([long, short]).total[1]
    np.testing.assert_allclose(alone, beside, atol=1e-4)


def test_the_total_is_the_sum_of_its_parts(trained: Fitted) -> None:
    scores = Scorer(trained.bundle).score([state([0, 2, 4]), state([1])])
    np.testing.assert_allclose(scores.total, sum(scores.parts.values()), atol=1e-4)
    assert ((scores.long_share >= 0) & (scores.long_share <= 1)).all()


def test_a_second_fit_starts_anew_and_gives_the_same(trained: Fitted, request: pytest.FixtureRequest) -> None:
    again = fitted(request.node.callspec.params["trained"])
    np.testing.assert_array_equal(trained.bundle.vectors, again.bundle.vectors)
    probe = [state([0, 2, 4])]
    np.testing.assert_array_equal(Scorer(trained.bundle).score(probe).total, Scorer(again.bundle).score(probe).total)


def test_saved_and_loaded_it_scores_the_same(trained: Fitted, tmp_path: Path) -> None:
    loaded = Bundle.read(trained.bundle.write(tmp_path / "bundle"))
    probe = [state([1, 3, 5]), state([])]
    for strategy in ("hybrid", "content", "collaborative"):
        np.testing.assert_array_equal(
            Scorer(trained.bundle).score(probe, strategy).total, Scorer(loaded).score(probe, strategy).total
        )


def test_renumbered_items_keep_their_quality() -> None:
    """Rows carry no meaning: with another numbering the same people still get their colour."""
    order = np.random.default_rng(3).permutation(world.ITEMS)
    scorer = Scorer(fitted("gated", order).bundle)
    black = [scorer.row[f"i{item}"] for item in np.flatnonzero(world.BLACK)]
    total = scorer.score([state(black[:6])]).total[0]
    total[black[:6]] = -np.inf
    assert np.isin(np.argsort(-total)[:10], black).mean() >= 0.9
