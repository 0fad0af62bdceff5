"""A large catalogue answers as if every item had been scored, and finds whatever fits."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from benchmarks.catalogues import clustered_bundle, visitors
from components.bundle.bundle import Bundle
from components.histories.signals import trend_scores
from components.histories.states import UserState
from components.ranking.candidates import Candidates, with_indexes
from components.ranking.filters import CategoryIndex, best_first, eligible
from components.ranking.questions import ItemQuestion, MostWanted, UserQuestion
from components.ranking.scorer import PARTS, Scorer, Strategy
from tests.support.toy_data import as_scipy

ITEMS, EXACT_BELOW, K = 50_000, 5_000, 10


class Told:
    """A trend that can be told anew."""

    def __init__(self, counts: np.ndarray) -> None:
        self.now = trend_scores(counts[None].astype(np.float64))

    def scores(self, moments: np.ndarray) -> np.ndarray:
        return self.now


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Written and read again, as the service has it."""
    folder: Path = tmp_path_factory.mktemp("large")
    with_indexes(clustered_bundle(ITEMS, width=32), EXACT_BELOW).write(folder)
    return Bundle.read(folder, mapped=True)


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle, Told(bundle.items["recent"].to_numpy()))


@pytest.fixture(scope="module")
def states(bundle: Bundle) -> list[UserState]:
    return visitors(bundle, 40)


def batches(
    scorer: Scorer, state: UserState, mask: np.ndarray, strategy: Strategy = "hybrid", size: int = 2 * K
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    question = UserQuestion(scorer, scorer.query([state], strategy), MostWanted(scorer))
    return Candidates(scorer.bundle, EXACT_BELOW).batches(question, mask, size)


def best(scorer: Scorer, state: UserState, mask: np.ndarray, strategy: Strategy = "hybrid") -> np.ndarray:
    return next(batches(scorer, state, mask, strategy))[0][:K]


def exact(scorer: Scorer, state: UserState, mask: np.ndarray, strategy: Strategy = "hybrid") -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[best_first(scorer.score([state], strategy).total[0, rows], K)]


def unseen(state: UserState) -> np.ndarray:
    mask = np.ones(ITEMS, dtype=bool)
    mask[state.items] = False
    return mask


@pytest.mark.parametrize("strategy", PARTS)
def test_the_best_ten_are_found(scorer: Scorer, states: list[UserState], strategy: Strategy) -> None:
    found = [np.isin(exact(scorer, s, unseen(s), strategy), best(scorer, s, unseen(s), strategy)) for s in states]
    assert np.mean(found) >= 0.99


@pytest.mark.parametrize("share", [0.4, 0.15])
def test_the_best_ten_are_found_behind_a_filter_too(scorer: Scorer, states: list[UserState], share: float) -> None:
    """The categories that are left are clusters, mostly far from the user."""
    names = np.random.default_rng(0).permutation([f"cluster {n}" for n in range(447)])
    index = CategoryIndex(scorer.bundle.items["category"])
    found = []
    for number, state in enumerate(states):
        mask = eligible(index, state.items, np.roll(names, 10 * number)[: int(share * len(names))].tolist())
        assert mask.sum() > EXACT_BELOW
        found.append(np.isin(exact(scorer, state, mask), best(scorer, state, mask)))
    assert np.mean(found) >= 0.99


@pytest.mark.parametrize("strategy", PARTS)
def test_scores_are_those_of_the_whole_catalogue(scorer: Scorer, states: list[UserState], strategy: Strategy) -> None:
    whole = scorer.score(states[:3], strategy)
    rows = np.random.default_rng(3).permutation(ITEMS)[:500]
    some = scorer.score(states[:3], strategy, rows)
    np.testing.assert_allclose(some.total, whole.total[:, rows], rtol=1e-4, atol=1e-5)
    for name, part in some.parts.items():
        np.testing.assert_allclose(part, whole.parts[name][:, rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(some.long_share, whole.long_share)
    found, scores = next(batches(scorer, states[0], unseen(states[0]), strategy))
    np.testing.assert_allclose(scores, whole.total[0, found], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("left", [0, 3, EXACT_BELOW - 1, EXACT_BELOW, 20_000])
@pytest.mark.parametrize("strategy", PARTS)
def test_whatever_fits_comes_up_once(scorer: Scorer, states: list[UserState], left: int, strategy: Strategy) -> None:
    mask = np.zeros(ITEMS, dtype=bool)
    mask[np.random.default_rng(left).permutation(ITEMS)[:left]] = True
    rows = [row for found, _ in batches(scorer, states[0], mask, strategy) for row in found]
    assert sorted(rows) == np.flatnonzero(mask).tolist()


def test_batches_fall_and_double(scorer: Scorer, states: list[UserState]) -> None:
    for rows, scores in islice(batches(scorer, states[1], unseen(states[1])), 6):
        assert (np.diff(scores) <= 0).all()
        assert len(rows) in (20, 40, 80, 160, 320, 640)


def test_what_is_wanted_now_is_found_wherever_it_lies(bundle: Bundle, states: list[UserState]) -> None:
    """The index knows the trend of the cut alone."""
    trend = Told(bundle.items["recent"].to_numpy())
    live = Scorer(bundle, trend)
    wanted = MostWanted(live)
    for row in (4321, 40_404):
        counts = np.zeros(ITEMS)
        counts[row] = 10_000
        trend.now = 10 * trend_scores(counts[None])
        question = UserQuestion(live, live.query(states[:1], "hybrid"), wanted)
        rows, _ = next(Candidates(bundle, EXACT_BELOW).batches(question, unseen(states[0]), K))
        assert rows[0] == row


def test_items_behind_the_index_are_found(bundle: Bundle, states: list[UserState]) -> None:
    """An item that came after the training, with the vector that the user likes best of all."""
    state = states[0]
    liked = 3 * bundle.vectors[state.items].sum(axis=0, keepdims=True)
    nothing = sparse.csr_matrix((1, ITEMS), dtype=np.float32)
    younger = replace(
        bundle,
        items=pa.concat_tables([bundle.items, bundle.items.slice(0, 1).set_column(0, "item_id", [["new"]])]),
        vectors=np.vstack([bundle.vectors, liked]),
        texts=np.vstack([bundle.texts, np.zeros_like(bundle.texts[:1])]),
        neighbours=sparse.csr_matrix(sparse.block_diag([as_scipy(bundle.neighbours), nothing[:, :1]])),
    )
    assert best(Scorer(younger), state, np.append(unseen(state), True))[0] == ITEMS


def test_what_is_like_an_item_is_found(bundle: Bundle) -> None:
    candidates, found = Candidates(bundle, EXACT_BELOW), []
    for row in range(0, ITEMS, 2_500):
        mask = np.ones(ITEMS, dtype=bool)
        mask[row] = False
        question = ItemQuestion(bundle, row)
        scores = question.scores(None)
        rows, given = next(candidates.batches(question, mask, K))
        np.testing.assert_allclose(given, scores[rows], rtol=1e-4, atol=1e-5)
        found.append(np.isin(np.flatnonzero(mask)[best_first(scores[mask], K)], rows))
    assert np.mean(found) >= 0.99


def test_a_small_catalogue_is_scored_item_by_item(states: list[UserState]) -> None:
    small = Scorer(clustered_bundle(1_000, width=32))
    state = UserState(np.array([1, 2, 3]), np.zeros(3), np.ones(3, dtype=np.float32), 0.0)
    mask = np.ones(1_000, dtype=bool)
    rows, scores = (np.concatenate(part) for part in zip(*batches(small, state, mask), strict=True))
    whole = small.totals([state])[0][0]
    np.testing.assert_array_equal(rows, np.argsort(-whole, kind="stable"))
    np.testing.assert_array_equal(scores, whole[rows])


def test_a_large_catalogue_without_an_index_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Candidates(clustered_bundle(200, width=8), 100)
    assert "200 items without an index" in caplog.text
