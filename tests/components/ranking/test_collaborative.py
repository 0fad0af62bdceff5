"""Item-item weights from the order of events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, sparse

from components.histories.signals import recency_weights
from components.ranking import collaborative
from components.ranking.collaborative import item_neighbours, keep_largest, keep_largest_sparse
from components.settings import RankingSettings

histories = st.lists(st.lists(st.integers(0, 5), min_size=0, max_size=9), min_size=1, max_size=8)


def pack(lists: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in lists])]).astype(np.int64)
    return offsets, np.array([item for history in lists for item in history], dtype=np.int64)


def regression(lists: list[list[int]], recency: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of every event with an earlier one, as dense matrices."""
    x, y = [], []
    for history in lists:
        for event in range(1, len(history)):
            row = np.zeros(6)
            for back in range(event):
                row[history[event - 1 - back]] += recency**back if recency**back >= 0.05 else 0.0
            x.append(row)
            y.append(np.eye(6)[history[event]])
    return np.array(x).reshape(-1, 6), np.array(y).reshape(-1, 6)


@given(lists=histories, recency=st.sampled_from([0.2, 0.5, 0.9]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_small_catalogue_solves_the_ridge_regression_of_the_next_item(lists: list[list[int]], recency: float) -> None:
    weights = item_neighbours(*pack(lists), 6, RankingSettings(regularization=2.0, recency=recency)).toarray()
    x, y = regression(lists, recency)
    for item in range(6):
        rows = np.vstack([x, np.sqrt(2.0) * np.eye(6)])
        expected = optimize.lsq_linear(rows, np.concatenate([y[:, item], np.zeros(6)])).x
        expected[item] = 0.0
        np.testing.assert_allclose(weights[:, item], expected, atol=1e-4)


@given(lists=histories)
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_large_catalogue_counts_what_follows(lists: list[list[int]]) -> None:
    settings = RankingSettings(regularization=2.0, recency=0.5, dense_below=0)
    x, y = regression(lists, 0.5)
    counts = np.maximum(np.bincount(pack(lists)[1], minlength=6), 1)
    expected = (x.T @ y) / ((x**2).sum(axis=0) + 2.0)[:, None] / np.sqrt(counts)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(item_neighbours(*pack(lists), 6, settings).toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("dense_below", [0, 100])
def test_chunks_do_not_matter(dense_below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack([list(np.random.default_rng(user).integers(0, 6, 7)) for user in range(30)])
    settings = RankingSettings(dense_below=dense_below)
    whole = item_neighbours(*packed, 6, settings)
    monkeypatch.setattr(collaborative, "CHUNK", 300)
    np.testing.assert_allclose(item_neighbours(*packed, 6, settings).toarray(), whole.toarray(), atol=1e-6)


@pytest.mark.parametrize("dense_below", [0, 100])
def test_small_and_large_catalogues_have_neighbours_of_one_shape(dense_below: int) -> None:
    lists = [list(np.random.default_rng(user).permutation(3) + 3 * (user % 2)) for user in range(40)]
    weights = item_neighbours(*pack(lists), 7, RankingSettings(dense_below=dense_below, neighbours=2))
    assert weights.shape == (7, 7)
    assert weights.dtype == np.float32
    assert weights.diagonal().tolist() == [0.0] * 7
    assert (np.diff(weights.indptr) <= 2).all()
    assert weights[0, 1] > 0
    assert weights[6].nnz == weights[:, 6].nnz == 0


@pytest.mark.parametrize("dense_below", [0, 100])
def test_without_any_pair_there_are_no_neighbours(dense_below: int) -> None:
    for offsets in (np.array([0]), np.array([0, 0, 0])):
        weights = item_neighbours(offsets, np.array([], np.int64), 4, RankingSettings(dense_below=dense_below))
        assert weights.shape == (4, 4)
        assert not weights.toarray().any()


def test_the_largest_of_each_row_are_kept() -> None:
    weights = np.array([[0.0, 3.0, -4.0, 1.0], [0.5, 0.0, 0.1, 0.2]])
    for keep, given_weights in ((keep_largest, weights), (keep_largest_sparse, sparse.csr_matrix(weights))):
        assert keep(given_weights, 2).toarray().tolist() == [[0.0, 3.0, -4.0, 0.0], [0.5, 0.0, 0.0, 0.2]]
        assert keep(given_weights, 9).toarray().tolist() == weights.tolist()


def test_weights_decay_with_every_later_event() -> None:
    signals = np.array([[0.0, 1.0, -1.0], [1.0, 1.0, 0.5]], dtype=np.float32)
    np.testing.assert_allclose(recency_weights(signals, 0.5), [[0.0, 0.5, -1.0], [0.25, 0.5, 0.5]])
