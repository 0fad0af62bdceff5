"""Retrieval in a large catalogue equals exhaustive scoring, and every allowed item is reachable."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.catalogues import clustered_bundle, visitors
from components.bundle.bundle import Bundle
from components.histories.signals import trend_scores
from components.histories.states import UserState
from components.ranking.candidates import Candidates, with_indexes
from components.ranking.filters import CategoryIndex, best_first, eligible
from components.ranking.retrieval import ItemRetrieval, PopularItems, UserRetrieval
from components.ranking.scorer import PARTS, Scorer, Strategy
from tests.support.toy_data import as_scipy

ITEMS, EXACT_BELOW, K = 50_000, 5_000, 10


class MutableTrend:
    """A trend that tests can replace."""

    def __init__(self, counts: NDArray[np.number]) -> None:
        self.now = trend_scores(counts[None].astype(np.float64))

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.now


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Written to disk and memory-mapped, as in the service."""
    folder: Path = tmp_path_factory.mktemp("large")
    with_indexes(clustered_bundle(ITEMS, width=32), EXACT_BELOW).write(folder)
    return Bundle.read(folder, mapped=True)


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle, MutableTrend(bundle.items["recent"].to_numpy()))


@pytest.fixture(scope="module")
def states(bundle: Bundle) -> list[UserState]:
    return visitors(bundle, 40)


def batches(
    scorer: Scorer, state: UserState, mask: NDArray[np.bool_], strategy: Strategy = "hybrid", size: int = 2 * K
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    query = UserRetrieval(scorer, scorer.query([state], strategy), PopularItems(scorer))
    return Candidates(scorer.bundle, EXACT_BELOW).batches(query, mask, size)


def best(scorer: Scorer, state: UserState, mask: NDArray[np.bool_], strategy: Strategy = "hybrid") -> NDArray[np.int64]:
    return next(batches(scorer, state, mask, strategy))[0][:K]


def exact(
    scorer: Scorer, state: UserState, mask: NDArray[np.bool_], strategy: Strategy = "hybrid"
) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    return rows[best_first(scorer.score([state], strategy).total[0, rows], K)]


def unseen(state: UserState) -> NDArray[np.bool_]:
    mask = np.ones(ITEMS, dtype=bool)
    mask[state.items] = False
    return mask


@pytest.mark.parametrize("strategy", PARTS)
def test_the_best_ten_are_found(scorer: Scorer, states: list[UserState], strategy: Strategy) -> None:
    recalls = [np.isin(exact(scorer, s, unseen(s), strategy), best(scorer, s, unseen(s), strategy)) for s in states]
    assert np.mean(recalls) >= 0.99


@pytest.mark.parametrize("share", [0.4, 0.15])
def test_the_best_ten_are_found_behind_a_filter_too(scorer: Scorer, states: list[UserState], share: float) -> None:
    """The remaining categories are clusters, mostly far from the user."""
    names = np.random.default_rng(0).permutation([f"cluster {n}" for n in range(447)])
    index = CategoryIndex(scorer.bundle.items["category"])
    recalls = []
    for number, state in enumerate(states):
        mask = eligible(index, state.items, np.roll(names, 10 * number)[: int(share * len(names))].tolist())
        assert mask.sum() > EXACT_BELOW
        recalls.append(np.isin(exact(scorer, state, mask), best(scorer, state, mask)))
    assert np.mean(recalls) >= 0.99


@pytest.mark.parametrize("strategy", PARTS)
def test_scores_are_those_of_the_whole_catalogue(scorer: Scorer, states: list[UserState], strategy: Strategy) -> None:
    whole = scorer.score(states[:3], strategy)
    rows = np.random.default_rng(3).permutation(ITEMS)[:500]
    some = scorer.score(states[:3], strategy, rows)
    np.testing.assert_allclose(some.total, whole.total[:, rows], rtol=1e-4, atol=1e-5)
    for name, part in some.parts.items():
        np.testing.assert_allclose(part, whole.parts[name][:, rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(some.long_share, whole.long_share)
    returned, scores = next(batches(scorer, states[0], unseen(states[0]), strategy))
    np.testing.assert_allclose(scores, whole.total[0, returned], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [0, 3, EXACT_BELOW - 1, EXACT_BELOW, 20_000])
@pytest.mark.parametrize("strategy", PARTS)
def test_every_allowed_item_is_returned_once(
    scorer: Scorer, states: list[UserState], count: int, strategy: Strategy
) -> None:
    mask = np.zeros(ITEMS, dtype=bool)
    mask[np.random.default_rng(count).permutation(ITEMS)[:count]] = True
    rows = [row for batch, _ in batches(scorer, states[0], mask, strategy) for row in batch]
    assert sorted(rows) == np.flatnonzero(mask).tolist()


def test_batches_descend_and_double(scorer: Scorer, states: list[UserState]) -> None:
    for rows, scores in islice(batches(scorer, states[1], unseen(states[1])), 6):
        assert (np.diff(scores) <= 0).all()
        assert len(rows) in (20, 40, 80, 160, 320, 640)


def test_trending_items_are_found_anywhere(bundle: Bundle, states: list[UserState]) -> None:
    """The index contains only the trend as of the cut."""
    trend = MutableTrend(bundle.items["recent"].to_numpy())
    live = Scorer(bundle, trend)
    popular = PopularItems(live)
    for row in (4321, 40_404):
        counts = np.zeros(ITEMS)
        counts[row] = 10_000
        trend.now = 10 * trend_scores(counts[None])
        query = UserRetrieval(live, live.query(states[:1], "hybrid"), popular)
        rows, _ = next(Candidates(bundle, EXACT_BELOW).batches(query, unseen(states[0]), K))
        assert rows[0] == row


def test_items_added_after_the_index_are_found(bundle: Bundle, states: list[UserState]) -> None:
    """An item added after the training, with the vector closest to the user's interest."""
    state = states[0]
    liked = 3 * bundle.vectors[state.items].sum(axis=0, keepdims=True)
    empty_row = sparse.csr_matrix((1, ITEMS), dtype=np.float32)
    extended = replace(
        bundle,
        items=pa.concat_tables([bundle.items, bundle.items.slice(0, 1).set_column(0, "item_id", [["new"]])]),
        vectors=np.vstack([bundle.vectors, liked]),
        texts=np.vstack([bundle.texts, np.zeros_like(bundle.texts[:1])]),
        neighbours=sparse.csr_matrix(sparse.block_diag([as_scipy(bundle.neighbours), empty_row[:, :1]])),
    )
    assert best(Scorer(extended), state, np.append(unseen(state), True))[0] == ITEMS


def test_similar_items_are_found(bundle: Bundle) -> None:
    candidates, recalls = Candidates(bundle, EXACT_BELOW), []
    for row in range(0, ITEMS, 2_500):
        mask = np.ones(ITEMS, dtype=bool)
        mask[row] = False
        query = ItemRetrieval(bundle, row)
        scores = query.scores(None)
        rows, given = next(candidates.batches(query, mask, K))
        np.testing.assert_allclose(given, scores[rows], rtol=1e-4, atol=1e-5)
        recalls.append(np.isin(np.flatnonzero(mask)[best_first(scores[mask], K)], rows))
    assert np.mean(recalls) >= 0.99


def test_a_small_catalogue_is_scored_item_by_item(states: list[UserState]) -> None:
    small = Scorer(clustered_bundle(1_000, width=32))
    state = UserState(np.array([1, 2, 3]), np.zeros(3), np.ones(3, dtype=np.float32), 0.0)
    mask = np.ones(1_000, dtype=bool)
    rows, scores = (np.concatenate(part) for part in zip(*batches(small, state, mask), strict=True))
    whole = small.totals([state])[0][0]
    np.testing.assert_array_equal(rows, np.argsort(-whole, kind="stable"))
    np.testing.assert_array_equal(scores, whole[rows])


def test_a_large_catalogue_without_an_index_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Candidates(clustered_bundle(200, width=8), 100)
    assert "200 items without an index" in caplog.text
