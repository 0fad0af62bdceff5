"""Weighted sums of rows of a sparse matrix, dense or sparse by cost, and access to the result."""

import numpy as np
import pytest
from scipy import sparse

from components.arrays.sparse import (
    DENSE_COLUMNS_PER_ENTRY,
    DENSE_UP_TO_COLUMNS,
    SORT_COLUMNS_PER_ENTRY,
    add_columns,
    add_weights,
    row_entries,
    take_columns,
    weighted_rows,
)

ROWS = np.array([5, 0, 5, 7])
WEIGHTS = np.array([[0.5, -1.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
LONG, SHORT = 3_000, 4
SIZES = {
    "array": (LONG, DENSE_UP_TO_COLUMNS),
    "looked at": (LONG, len(ROWS) * LONG * (DENSE_COLUMNS_PER_ENTRY + 1)),
    "sorted": (LONG, len(ROWS) * LONG * (SORT_COLUMNS_PER_ENTRY + 1)),
    "short array": (SHORT, DENSE_UP_TO_COLUMNS),
    "short sorted": (SHORT, 2 * DENSE_UP_TO_COLUMNS),
}


@pytest.fixture(params=SIZES)
def matrix(request: pytest.FixtureRequest) -> sparse.csr_matrix:
    """Ten rows, with sizes that cover each code path of the sum."""
    random, (count, size) = np.random.default_rng(0), SIZES[request.param]
    columns = np.concatenate([np.sort(random.choice(size, count, replace=False)) for _ in range(10)])
    starts = np.arange(11) * count
    return sparse.csr_matrix((random.normal(size=len(columns)).astype(np.float32), columns, starts), (10, size))


def test_rows_are_summed_by_their_weights(matrix: sparse.csr_matrix) -> None:
    sums_by_row = weighted_rows(matrix, ROWS, WEIGHTS)
    expected = WEIGHTS @ matrix[ROWS].toarray()
    assert isinstance(sums_by_row, np.ndarray) == (matrix.shape[1] == DENSE_UP_TO_COLUMNS)
    np.testing.assert_allclose(take_columns(sums_by_row, None), expected, atol=1e-6)
    wanted = np.array([7, 3, matrix.shape[1] - 1, 0, *matrix[5].indices[:3]])
    np.testing.assert_allclose(take_columns(sums_by_row, wanted), expected[:, wanted], atol=1e-6)
    for selection in (None, wanted):
        total = np.ones_like(expected if selection is None else expected[:, selection])
        add_columns(total, sums_by_row, selection)
        np.testing.assert_allclose(total, 1 + (expected if selection is None else expected[:, selection]), atol=1e-6)
    for row in range(len(WEIGHTS)):
        columns, sums = row_entries(sums_by_row, row)
        assert np.all(np.diff(columns) > 0)
        assert set(np.flatnonzero(expected[row])) <= set(columns.tolist())
        np.testing.assert_allclose(sums, expected[row, columns], atol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_sums_are_added(matrix: sparse.csr_matrix, count: int) -> None:
    """For few and many rows, dense and sparse."""
    expected = WEIGHTS @ matrix[ROWS].toarray() + WEIGHTS[:, :count] @ matrix[ROWS[:count]].toarray()
    for turn in (1, -1):
        parts = [weighted_rows(matrix, ROWS, WEIGHTS), weighted_rows(matrix, ROWS[:count], WEIGHTS[:, :count])][::turn]
        np.testing.assert_allclose(take_columns(add_weights(*parts), None), expected, atol=1e-6)


def test_no_rows_sum_to_nothing(matrix: sparse.csr_matrix) -> None:
    sums = weighted_rows(matrix, ROWS[:0], np.zeros((2, 0)))
    assert sums.shape == (2, matrix.shape[1])
    assert not take_columns(sums, None).any()
