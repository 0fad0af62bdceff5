"""Contract tests of every fusion: those of FUSIONS, the tutorial's, and the one set by DUOTEMPO_FUSION__KIND."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.bundle.bundle import Bundle
from components.fusion.fit import Fitted
from components.fusion.fusions import CONTEXT, Fusion, UnknownFusion, make_fusion
from components.histories.states import UserState
from components.ranking.scorer import PARTS, Scorer
from components.settings import FusionSettings
from tests.support import checkerboard as board
from tests.support.checkerboard import KINDS
from tests.support.toy_data import as_scipy

HOUR = 3600.0


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> Fitted:
    return board.trained(request.param)


def state(items: list[int], hours_ago: float = 1.0, signal: float = 1.0) -> UserState:
    now = board.CUT.timestamp()
    times = now - HOUR * (hours_ago + np.arange(len(items))[::-1])
    return UserState(np.array(items, dtype=np.int64), times, np.full(len(items), signal, np.float32), now)


def probes() -> list[UserState]:
    """Users with a few events, one, disliked ones, none, and more than the window."""
    return [state([0, 2, 4]), state([1]), state([3, 5], signal=-1.0), state([]), state(list(range(0, 40, 2)))]


def random_fusion(kind: str) -> Fusion:
    """A fusion of width 6 with randomly perturbed weights."""
    torch.manual_seed(0)
    fusion = make_fusion(kind, 6).eval()
    with torch.no_grad():
        for weight in fusion.parameters():
            weight.add_(torch.randn_like(weight) / 3)
    return fusion


@pytest.mark.parametrize("kind", KINDS)
def test_parts_have_the_shape_of_the_towers_and_stay_finite(kind: str) -> None:
    fusion = random_fusion(kind)
    for shape in ((3, 5), (1,), (2, 1)):
        long, short = torch.randn(*shape, 6), torch.randn(*shape, 6)
        parts = fusion(long, short, torch.rand(*shape, CONTEXT))
        assert [part.shape for part in parts] == [long.shape, short.shape]
        assert all(torch.isfinite(part).all() for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_no_short_term_interest_leaves_no_short_part(kind: str) -> None:
    _, short = random_fusion(kind)(torch.randn(4, 6), torch.zeros(4, 6), torch.rand(4, CONTEXT))
    assert torch.equal(short, torch.zeros(4, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_users_and_events_of_a_batch_are_independent(kind: str) -> None:
    fusion = random_fusion(kind)
    long, short, context = torch.randn(3, 5, 6), torch.randn(3, 5, 6), torch.rand(3, 5, CONTEXT)
    with torch.no_grad():
        for whole, alone in zip(
            fusion(long, short, context), fusion(long[1:2, 2:3], short[1:2, 2:3], context[1:2, 2:3]), strict=True
        ):
            torch.testing.assert_close(whole[1:2, 2:3], alone)


def test_an_unknown_fusion_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownFusion, match=r"gated.*module:Class"):
        make_fusion("magic", 6)


def test_users_get_items_of_their_colour(trained: Fitted) -> None:
    scorer = Scorer(trained.bundle)
    for colour in (board.BLACK, ~board.BLACK):
        own = np.flatnonzero(colour)
        total = scorer.score([state(own[:6].tolist())]).total[0]
        total[own[:6]] = -np.inf
        best = np.argsort(-total)[:10]
        assert colour[best].mean() >= 0.9


def test_padding_does_not_change_scores(trained: Fitted) -> None:
    scorer = Scorer(trained.bundle)
    beside = scorer.score(probes())
    for row, probe in enumerate(probes()):
        alone = scorer.score([probe])
        np.testing.assert_allclose(alone.total[0], beside.total[row], atol=1e-4)
        np.testing.assert_allclose(alone.long_share[0], beside.long_share[row], atol=1e-4)


def test_the_total_is_the_sum_of_its_parts(trained: Fitted) -> None:
    scores = Scorer(trained.bundle).score([state([0, 2, 4]), state([1])])
    np.testing.assert_allclose(scores.total, sum(scores.parts.values()), atol=1e-4)
    assert ((scores.long_share >= 0) & (scores.long_share <= 1)).all()


@pytest.mark.parametrize("kind", ["gated", "concat"])
def test_a_second_fit_gives_the_same_bundle(kind: str) -> None:
    first, again = board.trained(kind), board.fitted(board.settings(kind))
    assert again.progress.losses == first.progress.losses
    assert again.bundle.tower == first.bundle.tower
    np.testing.assert_array_equal(again.bundle.vectors, first.bundle.vectors)
    np.testing.assert_array_equal(
        Scorer(again.bundle).score(probes()).total, Scorer(first.bundle).score(probes()).total
    )


def test_another_seed_gives_other_vectors() -> None:
    other = board.fitted(board.settings(seed=1))
    assert not np.array_equal(board.trained().bundle.vectors, other.bundle.vectors)


def test_saved_and_loaded_it_scores_the_same(trained: Fitted, tmp_path: Path) -> None:
    loaded = Bundle.read(trained.bundle.write(tmp_path / "bundle"))
    for strategy in PARTS:
        np.testing.assert_array_equal(
            Scorer(trained.bundle).score(probes(), strategy).total, Scorer(loaded).score(probes(), strategy).total
        )


def test_permuted_items_have_permuted_scores(trained: Fitted) -> None:
    order = np.random.default_rng(3).permutation(board.ITEMS)
    place = np.argsort(order)
    bundle = trained.bundle
    permuted = replace(
        bundle,
        items=bundle.items.take(order),
        vectors=bundle.vectors[order],
        texts=bundle.texts[order],
        neighbours=as_scipy(bundle.neighbours)[order][:, order],
        keywords=as_scipy(bundle.keywords)[order],
    )
    moved = [replace(probe, items=place[probe.items]) for probe in probes()]
    for strategy in PARTS:
        np.testing.assert_allclose(
            Scorer(permuted).score(moved, strategy).total,
            Scorer(bundle).score(probes(), strategy).total[:, order],
            atol=1e-4,
        )


def test_quality_does_not_depend_on_item_numbering() -> None:
    """Row numbers carry no meaning: with another numbering the users still get their colour."""
    order = np.random.default_rng(3).permutation(board.ITEMS)
    scorer = Scorer(board.fitted(board.settings(), order).bundle)
    black = [scorer.row[f"i{item}"] for item in np.flatnonzero(board.BLACK)]
    total = scorer.score([state(black[:6])]).total[0]
    total[black[:6]] = -np.inf
    assert np.isin(np.argsort(-total)[:10], black).mean() >= 0.9


def test_settings_refuse_an_unknown_fusion() -> None:
    with pytest.raises(ValidationError, match=r"no fusion named 'gatd'.*gated.*module:Class"):
        FusionSettings(kind="gatd")
