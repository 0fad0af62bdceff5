"""Item-item weights from who had what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, sparse

from components.ranking.collaborative import ease, item_knn, item_neighbours, keep_largest
from components.settings import RankingSettings

matrices = st.integers(0, 2**32 - 1).map(
    lambda seed: sparse.random(
        12, 6, density=0.4, random_state=np.random.default_rng(seed), format="csr", dtype=np.float32, data_rvs=np.ones
    )
)


def pairs(matrix: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    users, items = matrix.nonzero()
    return users, items


@given(matrix=matrices)
def test_ease_is_the_best_linear_model_with_an_empty_diagonal(matrix: sparse.csr_matrix) -> None:
    """Each column minimises the ridge loss over the other items: solved again without the closed form."""
    weights = ease(matrix, 2.0)
    assert np.diag(weights).tolist() == [0.0] * 6
    dense = matrix.toarray().astype(float)
    for item in range(6):
        others = [other for other in range(6) if other != item]
        rows = np.vstack([dense[:, others], np.sqrt(2.0) * np.eye(5)])
        wanted = optimize.lsq_linear(rows, np.concatenate([dense[:, item], np.zeros(5)])).x
        np.testing.assert_allclose(weights[others, item], wanted, atol=1e-4)


def test_items_of_the_same_people_are_neighbours_and_others_are_not() -> None:
    matrix = sparse.csr_matrix(np.kron(np.eye(2), np.ones((6, 3))).astype(np.float32))
    for weights in (ease(matrix, 1.0), item_knn(matrix, 3).toarray()):
        assert (weights[0, 1:3] > 0).all()
        np.testing.assert_allclose(weights[0, 3:], 0.0, atol=1e-6)


def test_the_largest_of_each_row_are_kept() -> None:
    weights = np.array([[0.0, 3.0, -4.0, 1.0], [0.5, 0.0, 0.1, 0.2]])
    assert keep_largest(weights, 2).toarray().tolist() == [[0.0, 3.0, -4.0, 0.0], [0.5, 0.0, 0.0, 0.2]]
    assert keep_largest(weights, 9).toarray().tolist() == weights.tolist()


@pytest.mark.parametrize("dense_below", [0, 100])
def test_small_and_large_catalogues_have_neighbours_of_one_shape(dense_below: int) -> None:
    settings = RankingSettings(dense_below=dense_below, neighbours=2)
    users, items = pairs(sparse.csr_matrix(np.kron(np.eye(2), np.ones((6, 3)))))
    found = item_neighbours(users, items, (12, 7), settings)
    assert found.shape == (7, 7)
    assert found.diagonal().tolist() == [0.0] * 7
    assert (np.diff(found.indptr) <= 2).all()
    assert found[0, 1] > 0
    assert found[6].nnz == found[:, 6].nnz == 0


def test_a_pair_that_comes_twice_counts_once() -> None:
    settings = RankingSettings()
    once = item_neighbours(np.array([0, 0, 1]), np.array([0, 1, 1]), (2, 3), settings)
    twice = item_neighbours(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), (2, 3), settings)
    np.testing.assert_array_equal(once.toarray(), twice.toarray())


@pytest.mark.parametrize("dense_below", [0, 100])
def test_without_any_pair_there_are_no_neighbours(dense_below: int) -> None:
    nobody = np.array([], dtype=np.int64)
    found = item_neighbours(nobody, nobody, (0, 4), RankingSettings(dense_below=dense_below))
    assert found.shape == (4, 4)
    assert not found.toarray().any()
