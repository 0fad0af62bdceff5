"""Sums of a few rows of a sparse matrix, dense or sparse as takes least, and what is read of them."""

import numpy as np
import pytest
from scipy import sparse

from components.arrays.sparse import DENSE, FEW, SPARSE, add, columns, entries, plus, weighted_rows

ROWS = np.array([5, 0, 5, 7])
WEIGHTS = np.array([[0.5, -1.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
LONG, SHORT = 3_000, 4
SIZES = {
    "array": (LONG, FEW),
    "looked at": (LONG, len(ROWS) * LONG * (DENSE + 1)),
    "sorted": (LONG, len(ROWS) * LONG * (SPARSE + 1)),
    "short array": (SHORT, FEW),
    "short sorted": (SHORT, 2 * FEW),
}


@pytest.fixture(params=SIZES)
def matrix(request: pytest.FixtureRequest) -> sparse.csr_matrix:
    """Ten rows of so many entries, and so many columns, that each way of summing them has its turn."""
    random, (count, size) = np.random.default_rng(0), SIZES[request.param]
    found = np.concatenate([np.sort(random.choice(size, count, replace=False)) for _ in range(10)])
    starts = np.arange(11) * count
    return sparse.csr_matrix((random.normal(size=len(found)).astype(np.float32), found, starts), (10, size))


def test_rows_are_summed_by_their_weights(matrix: sparse.csr_matrix) -> None:
    found = weighted_rows(matrix, ROWS, WEIGHTS)
    expected = WEIGHTS @ matrix[ROWS].toarray()
    assert isinstance(found, np.ndarray) == (matrix.shape[1] == FEW)
    np.testing.assert_allclose(columns(found, None), expected, atol=1e-6)
    wanted = np.array([7, 3, matrix.shape[1] - 1, 0, *matrix[5].indices[:3]])
    np.testing.assert_allclose(columns(found, wanted), expected[:, wanted], atol=1e-6)
    for of in (None, wanted):
        total = np.ones_like(expected if of is None else expected[:, of])
        add(total, found, of)
        np.testing.assert_allclose(total, 1 + (expected if of is None else expected[:, of]), atol=1e-6)
    for row in range(len(WEIGHTS)):
        names, sums = entries(found, row)
        assert np.all(np.diff(names) > 0)
        assert set(np.flatnonzero(expected[row])) <= set(names.tolist())
        np.testing.assert_allclose(sums, expected[row, names], atol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_sums_are_added(matrix: sparse.csr_matrix, count: int) -> None:
    """Of few rows and of many, each of which may be an array or not."""
    expected = WEIGHTS @ matrix[ROWS].toarray() + WEIGHTS[:, :count] @ matrix[ROWS[:count]].toarray()
    for turn in (1, -1):
        parts = [weighted_rows(matrix, ROWS, WEIGHTS), weighted_rows(matrix, ROWS[:count], WEIGHTS[:, :count])][::turn]
        np.testing.assert_allclose(columns(plus(*parts), None), expected, atol=1e-6)


def test_no_rows_sum_to_nothing(matrix: sparse.csr_matrix) -> None:
    found = weighted_rows(matrix, ROWS[:0], np.zeros((2, 0)))
    assert found.shape == (2, matrix.shape[1])
    assert not columns(found, None).any()
