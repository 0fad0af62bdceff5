"""Sparse products and columns whose cost follows what is touched, not the size of the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike


class Csr(Protocol):
    """A sparse matrix (m, n) row by row: of row i the columns indices[indptr[i] : indptr[i + 1]], and what is in each
    of them, as data. scipy's is one."""

    @property
    def data(self) -> np.ndarray: ...
    @property
    def indices(self) -> np.ndarray: ...
    @property
    def indptr(self) -> np.ndarray: ...
    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Rows:
    """A `Csr` without scipy, which takes as long to load as half of a service's own modules."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]


Weights: TypeAlias = np.ndarray | Csr
"""A weight (r, n) for each column: an array where that takes no more room, or there are few columns at all."""
FEW = 10_000
"""Columns up to which an array of all costs less than the search for those that are touched."""
DENSE = 2
"""Columns for each entry, up to which an array of all takes no more room."""
LONG = 64
"""Entries a row, from which on rows are copied in less time than their entries are looked up."""
SPARSE = 8
"""Columns for each entry, from which on sorting the entries takes less time than a look at all columns."""


def weighted_rows(matrix: Csr, rows: np.ndarray, weights: np.ndarray, dtype: DTypeLike = np.float64) -> Weights:
    """The sum of the `rows`, int (r,), of a matrix (m, n), each times its weight, for each of the `weights` (w, r):
    (w, n), added up in float64."""
    starts = matrix.indptr[rows]
    counts = matrix.indptr[rows + 1] - starts
    names, values = _of_rows((matrix.indices, matrix.data), starts, counts)
    shares = weights.repeat(counts, axis=1) * values
    size = matrix.shape[1]
    if size <= max(FEW, SPARSE * len(names)):
        sums = np.array([np.bincount(names, share, size) for share in shares])
        if size <= max(FEW, DENSE * len(names)):
            return sums.astype(dtype, copy=False)
        names = np.flatnonzero(sums.any(axis=0))
        sums = sums[:, names]
    else:
        names, places = np.unique(names, return_inverse=True)
        sums = np.array([np.bincount(places, share, len(names)) for share in shares])
    starts = np.arange(len(sums) + 1) * len(names)
    return Rows(sums.ravel().astype(dtype, copy=False), np.tile(names, len(sums)), starts, (len(sums), size))


def _of_rows(arrays: Sequence[np.ndarray], starts: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Of each array so many entries from each of the starts on, one after the other."""
    ends = counts.cumsum()
    if len(ends) and ends[-1] > LONG * len(ends):
        parts = [slice(start, start + count) for start, count in zip(starts.tolist(), counts.tolist(), strict=True)]
        return [np.concatenate([array[part] for part in parts]) for array in arrays]
    places = (starts - ends + counts).repeat(counts)
    places += np.arange(len(places))
    return [array[places] for array in arrays]


def picked(matrix: Csr, rows: np.ndarray) -> Rows:
    """The `rows`, int (r,), as a matrix (r, n)."""
    starts = matrix.indptr[rows]
    counts = matrix.indptr[rows + 1] - starts
    names, values = _of_rows((matrix.indices, matrix.data), starts, counts)
    return Rows(values, names, np.append(0, counts.cumsum()), (len(rows), matrix.shape[1]))


def stacked(parts: Sequence[Weights]) -> Weights:
    """Weights (1, n) of each as (r, n): an array where one of them is."""
    lists = [part for part in parts if not isinstance(part, np.ndarray)]
    if len(lists) < len(parts):
        return np.concatenate([columns(part, None) for part in parts])
    ends = np.cumsum([0, *(len(part.data) for part in lists)])
    names = np.concatenate([part.indices for part in lists])
    return Rows(np.concatenate([part.data for part in lists]), names, ends, (len(lists), lists[0].shape[1]))


def times(weights: Weights, factor: np.float32) -> Weights:
    """Each weight times the factor."""
    if isinstance(weights, np.ndarray):
        return weights * factor
    return Rows(weights.data * factor, weights.indices, weights.indptr, weights.shape)


def plus(left: Weights, right: Weights) -> Weights:
    """Their sum, sparse where both are; an array among them may be the one that holds it."""
    if isinstance(left, np.ndarray):
        add(left, right, None)
        return left
    if isinstance(right, np.ndarray):
        return plus(right, left)
    count, size = left.shape
    cells = np.concatenate([_row_of_each(part) * size + part.indices for part in (left, right)])
    cells, places = np.unique(cells, return_inverse=True)
    sums = np.bincount(places, np.concatenate([left.data, right.data]), len(cells))
    starts = np.searchsorted(cells, np.arange(count + 1) * size)
    return Rows(sums.astype(left.data.dtype, copy=False), cells % size, starts, left.shape)


def columns(weights: Weights, wanted: np.ndarray | None) -> np.ndarray:
    """The columns `wanted`, int64 (c,) without repetition, or all, as an array (r, c)."""
    if isinstance(weights, np.ndarray):
        return weights if wanted is None else weights[:, wanted]
    dense = np.zeros((weights.shape[0], weights.shape[1] if wanted is None else len(wanted)), weights.data.dtype)
    if wanted is None:
        dense[_row_of_each(weights), weights.indices] = weights.data
        return dense
    if not len(wanted):
        return dense
    order = np.argsort(wanted)
    places = order[np.minimum(np.searchsorted(wanted, weights.indices, sorter=order), len(wanted) - 1)]
    hit = wanted[places] == weights.indices
    dense[_row_of_each(weights)[hit], places[hit]] = weights.data[hit]
    return dense


def entries(weights: Weights, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and weights of a row, all that are not 0 among them; of `weighted_rows` the columns rise."""
    if isinstance(weights, np.ndarray):
        return np.arange(weights.shape[1]), weights[row]
    part = slice(weights.indptr[row], weights.indptr[row + 1])
    return weights.indices[part], weights.data[part]


def add(total: np.ndarray, weights: Weights, wanted: np.ndarray | None) -> None:
    """Adds `columns` to the total (r, c)."""
    if wanted is None and not isinstance(weights, np.ndarray):
        total[_row_of_each(weights), weights.indices] += weights.data
    else:
        total += columns(weights, wanted)


def _row_of_each(matrix: Csr) -> np.ndarray:
    """The row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
