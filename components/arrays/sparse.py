"""Sparse products and column selection whose cost grows with the entries touched, not with the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Csr(Protocol):
    """A sparse matrix (m, n) in CSR format: row i has the columns indices[indptr[i] : indptr[i + 1]] and as many values
    in `data`. `scipy.sparse.csr_matrix` satisfies the protocol."""

    @property
    def data(self) -> NDArray[Any]: ...
    @property
    def indices(self) -> NDArray[np.integer]: ...
    @property
    def indptr(self) -> NDArray[np.integer]: ...
    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Rows:
    """A `Csr` without scipy, whose import takes half as long as that of all modules of the service."""

    data: NDArray[Any]
    indices: NDArray[np.integer]
    indptr: NDArray[np.integer]
    shape: tuple[int, int]


Weights: TypeAlias = NDArray[Any] | Csr
"""A matrix of weights (r, n): dense where that takes no more memory or n is small, else sparse."""
DENSE_UP_TO_COLUMNS = 10_000
"""Columns up to which a dense sum is cheaper than finding the columns with entries."""
DENSE_COLUMNS_PER_ENTRY = 2
"""Columns per entry up to which the dense result takes no more memory."""
COPY_ENTRIES_PER_ROW = 64
"""Mean entries per row above which copying slices is faster than fancy indexing."""
SORT_COLUMNS_PER_ENTRY = 8
"""Columns per entry above which sorting the entries is faster than scanning all columns."""


def weighted_rows(
    matrix: Csr, rows: NDArray[np.int64], weights: NDArray[np.floating], dtype: DTypeLike = np.float64
) -> Weights:
    """Weighted sums of some rows of a matrix, `weights @ matrix[rows]`.

    Args:
        matrix: (m, n).
        rows: Row numbers (r,); a row may occur more than once.
        weights: (w, r), one row per sum.
        dtype: Of the result; sums are accumulated in float64.

    Returns:
        (w, n), dense or sparse, whichever is cheaper.
    """
    starts = matrix.indptr[rows]
    counts = matrix.indptr[rows + 1] - starts
    columns, values = _concat_entries((matrix.indices, matrix.data), starts, counts)
    products = weights.repeat(counts, axis=1) * values
    size = matrix.shape[1]
    if size <= max(DENSE_UP_TO_COLUMNS, SORT_COLUMNS_PER_ENTRY * len(columns)):
        sums = np.array([np.bincount(columns, share, size) for share in products])
        if size <= max(DENSE_UP_TO_COLUMNS, DENSE_COLUMNS_PER_ENTRY * len(columns)):
            return sums.astype(dtype, copy=False)
        columns = np.flatnonzero(sums.any(axis=0))
        sums = sums[:, columns]
    else:
        columns, inverse = np.unique(columns, return_inverse=True)
        sums = np.array([np.bincount(inverse, share, len(columns)) for share in products])
    starts = np.arange(len(sums) + 1) * len(columns)
    return Rows(sums.ravel().astype(dtype, copy=False), np.tile(columns, len(sums)), starts, (len(sums), size))


def _concat_entries(
    arrays: Sequence[NDArray[Any]], starts: NDArray[np.integer], counts: NDArray[np.integer]
) -> list[NDArray[Any]]:
    """For each array, the concatenation of the slices array[start : start + count]."""
    ends = counts.cumsum()
    if len(ends) and ends[-1] > COPY_ENTRIES_PER_ROW * len(ends):
        parts = [slice(start, start + count) for start, count in zip(starts.tolist(), counts.tolist(), strict=True)]
        return [np.concatenate([array[part] for part in parts]) for array in arrays]
    positions = (starts - ends + counts).repeat(counts)
    positions += np.arange(len(positions))
    return [array[positions] for array in arrays]


def select_rows(matrix: Csr, rows: NDArray[np.int64]) -> Rows:
    """The rows (r,) of a matrix (m, n), as a sparse matrix (r, n)."""
    starts = matrix.indptr[rows]
    counts = matrix.indptr[rows + 1] - starts
    columns, values = _concat_entries((matrix.indices, matrix.data), starts, counts)
    return Rows(values, columns, np.append(0, counts.cumsum()), (len(rows), matrix.shape[1]))


def stack_rows(parts: Sequence[Weights]) -> Weights:
    """Stacks r weights (1, n) into (r, n); dense if any part is dense."""
    sparse_parts = [part for part in parts if not isinstance(part, np.ndarray)]
    if len(sparse_parts) < len(parts):
        return np.concatenate([take_columns(part, None) for part in parts])
    ends = np.cumsum([0, *(len(part.data) for part in sparse_parts)])
    columns = np.concatenate([part.indices for part in sparse_parts])
    return Rows(
        np.concatenate([part.data for part in sparse_parts]),
        columns,
        ends,
        (len(sparse_parts), sparse_parts[0].shape[1]),
    )


def scale(weights: Weights, factor: np.float32) -> Weights:
    """Weights times a factor."""
    if isinstance(weights, np.ndarray):
        return weights * factor
    return Rows(weights.data * factor, weights.indices, weights.indptr, weights.shape)


def add_weights(left: Weights, right: Weights) -> Weights:
    """The sum of two weights (r, n), sparse if both are. A dense operand may be modified in place and returned."""
    if isinstance(left, np.ndarray):
        add_columns(left, right, None)
        return left
    if isinstance(right, np.ndarray):
        return add_weights(right, left)
    count, size = left.shape
    cells = np.concatenate([_entry_rows(part) * size + part.indices for part in (left, right)])
    cells, inverse = np.unique(cells, return_inverse=True)
    sums = np.bincount(inverse, np.concatenate([left.data, right.data]), len(cells))
    starts = np.searchsorted(cells, np.arange(count + 1) * size)
    return Rows(sums.astype(left.data.dtype, copy=False), cells % size, starts, left.shape)


def take_columns(weights: Weights, selected: NDArray[np.int64] | None) -> NDArray[Any]:
    """The selected distinct columns (c,), or all where None, as a dense array (r, c)."""
    if isinstance(weights, np.ndarray):
        return weights if selected is None else weights[:, selected]
    dense = np.zeros((weights.shape[0], weights.shape[1] if selected is None else len(selected)), weights.data.dtype)
    if selected is None:
        dense[_entry_rows(weights), weights.indices] = weights.data
        return dense
    if not len(selected):
        return dense
    order = np.argsort(selected)
    positions = order[np.minimum(np.searchsorted(selected, weights.indices, sorter=order), len(selected) - 1)]
    hit = selected[positions] == weights.indices
    dense[_entry_rows(weights)[hit], positions[hit]] = weights.data[hit]
    return dense


def row_entries(weights: Weights, row: int) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """Column numbers and values of a row; includes every non-zero. Columns are ascending in `weighted_rows` results."""
    if isinstance(weights, np.ndarray):
        return np.arange(weights.shape[1]), weights[row]
    part = slice(weights.indptr[row], weights.indptr[row + 1])
    return weights.indices[part], weights.data[part]


def add_columns(total: NDArray[np.floating], weights: Weights, selected: NDArray[np.int64] | None) -> None:
    """Adds the selected columns of `weights` (see `take_columns`) to `total` (r, c) in place."""
    if selected is None and not isinstance(weights, np.ndarray):
        total[_entry_rows(weights), weights.indices] += weights.data
    else:
        total += take_columns(weights, selected)


def _entry_rows(matrix: Csr) -> NDArray[np.int64]:
    """The row number of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
