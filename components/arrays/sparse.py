"""Sparse products and columns whose cost follows what is touched, not the size of the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Csr(Protocol):
    """A sparse matrix (m, n) row by row: of row i the columns indices[indptr[i] : indptr[i + 1]], and what is in each
    of them, as data. scipy's is one."""

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
    """A `Csr` without scipy, which takes as long to load as half of a service's own modules."""

    data: NDArray[Any]
    indices: NDArray[np.integer]
    indptr: NDArray[np.integer]
    shape: tuple[int, int]


Weights: TypeAlias = NDArray[Any] | Csr
"""A weight (r, n) for each column: an array where that takes no more room, or there are few columns at all."""
DENSE_UP_TO_COLUMNS = 10_000
"""Columns up to which an array of all costs less than the search for those that are touched."""
DENSE_COLUMNS_PER_ENTRY = 2
"""Columns for each entry, up to which an array of all takes no more room."""
COPY_ENTRIES_PER_ROW = 64
"""Entries a row, from which on rows are copied in less time than their entries are looked up."""
SORT_COLUMNS_PER_ENTRY = 8
"""Columns for each entry, from which on sorting the entries takes less time than a look at all columns."""


def weighted_rows(
    matrix: Csr, rows: NDArray[np.int64], weights: NDArray[np.floating], dtype: DTypeLike = np.float64
) -> Weights:
    """The sum of the `rows`, int (r,), of a matrix (m, n), each times its weight, for each of the `weights` (w, r):
    (w, n), added up in float64."""
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
        columns, places = np.unique(columns, return_inverse=True)
        sums = np.array([np.bincount(places, share, len(columns)) for share in products])
    starts = np.arange(len(sums) + 1) * len(columns)
    return Rows(sums.ravel().astype(dtype, copy=False), np.tile(columns, len(sums)), starts, (len(sums), size))


def _concat_entries(
    arrays: Sequence[NDArray[Any]], starts: NDArray[np.integer], counts: NDArray[np.integer]
) -> list[NDArray[Any]]:
    """Of each array so many entries from each of the starts on, one after the other."""
    ends = counts.cumsum()
    if len(ends) and ends[-1] > COPY_ENTRIES_PER_ROW * len(ends):
        parts = [slice(start, start + count) for start, count in zip(starts.tolist(), counts.tolist(), strict=True)]
        return [np.concatenate([array[part] for part in parts]) for array in arrays]
    places = (starts - ends + counts).repeat(counts)
    places += np.arange(len(places))
    return [array[places] for array in arrays]


def picked(matrix: Csr, rows: NDArray[np.int64]) -> Rows:
    """The `rows`, int (r,), as a matrix (r, n)."""
    starts = matrix.indptr[rows]
    counts = matrix.indptr[rows + 1] - starts
    columns, values = _concat_entries((matrix.indices, matrix.data), starts, counts)
    return Rows(values, columns, np.append(0, counts.cumsum()), (len(rows), matrix.shape[1]))


def stack_rows(parts: Sequence[Weights]) -> Weights:
    """Weights (1, n) of each as (r, n): an array where one of them is."""
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
    """Each weight times the factor."""
    if isinstance(weights, np.ndarray):
        return weights * factor
    return Rows(weights.data * factor, weights.indices, weights.indptr, weights.shape)


def add_weights(left: Weights, right: Weights) -> Weights:
    """Their sum, sparse where both are; an array among them may be the one that holds it."""
    if isinstance(left, np.ndarray):
        add_columns(left, right, None)
        return left
    if isinstance(right, np.ndarray):
        return add_weights(right, left)
    count, size = left.shape
    cells = np.concatenate([_entry_rows(part) * size + part.indices for part in (left, right)])
    cells, places = np.unique(cells, return_inverse=True)
    sums = np.bincount(places, np.concatenate([left.data, right.data]), len(cells))
    starts = np.searchsorted(cells, np.arange(count + 1) * size)
    return Rows(sums.astype(left.data.dtype, copy=False), cells % size, starts, left.shape)


def take_columns(weights: Weights, selected: NDArray[np.int64] | None) -> NDArray[Any]:
    """The columns `wanted`, int64 (c,) without repetition, or all, as an array (r, c)."""
    if isinstance(weights, np.ndarray):
        return weights if selected is None else weights[:, selected]
    dense = np.zeros((weights.shape[0], weights.shape[1] if selected is None else len(selected)), weights.data.dtype)
    if selected is None:
        dense[_entry_rows(weights), weights.indices] = weights.data
        return dense
    if not len(selected):
        return dense
    order = np.argsort(selected)
    places = order[np.minimum(np.searchsorted(selected, weights.indices, sorter=order), len(selected) - 1)]
    hit = selected[places] == weights.indices
    dense[_entry_rows(weights)[hit], places[hit]] = weights.data[hit]
    return dense


def row_entries(weights: Weights, row: int) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """Columns and weights of a row, all that are not 0 among them; of `weighted_rows` the columns rise."""
    if isinstance(weights, np.ndarray):
        return np.arange(weights.shape[1]), weights[row]
    part = slice(weights.indptr[row], weights.indptr[row + 1])
    return weights.indices[part], weights.data[part]


def add_columns(total: NDArray[np.floating], weights: Weights, selected: NDArray[np.int64] | None) -> None:
    """Adds `columns` to the total (r, c)."""
    if selected is None and not isinstance(weights, np.ndarray):
        total[_entry_rows(weights), weights.indices] += weights.data
    else:
        total += take_columns(weights, selected)


def _entry_rows(matrix: Csr) -> NDArray[np.int64]:
    """The row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
