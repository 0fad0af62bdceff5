"""Sparse products and columns whose cost follows what is touched, not the size of the catalogue."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

Weights: TypeAlias = np.ndarray | sparse.csr_matrix
"""A weight (r, n) for each column: an array where that takes no more room, or there are few columns at all."""
FEW = 10_000
"""Columns up to which an array of all costs less than the search for those that are touched."""
DENSE = 2
"""Columns for each entry, up to which an array of all takes no more room."""
LONG = 64
"""Entries a row, from which on rows are copied in less time than their entries are looked up."""
SPARSE = 8
"""Columns for each entry, from which on sorting the entries takes less time than a look at all columns."""


def weighted_rows(
    matrix: sparse.csr_matrix, rows: np.ndarray, weights: np.ndarray, dtype: DTypeLike = np.float64
) -> Weights:
    """The sum of the `rows`, int (r,), of a matrix (m, n), each times its weight, for each of the `weights` (w, r):
    (w, n), added up in float64.

    scipy does the same, and takes longer where rows are few.
    """
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
    return sparse.csr_matrix(
        (sums.ravel().astype(dtype, copy=False), np.tile(names, len(sums)), starts), (len(sums), size)
    )


def _of_rows(arrays: Sequence[np.ndarray], starts: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Of each array so many entries from each of the starts on, one after the other."""
    ends = counts.cumsum()
    if len(ends) and ends[-1] > LONG * len(ends):
        parts = [slice(start, start + count) for start, count in zip(starts.tolist(), counts.tolist(), strict=True)]
        return [np.concatenate([array[part] for part in parts]) for array in arrays]
    places = (starts - ends + counts).repeat(counts)
    places += np.arange(len(places))
    return [array[places] for array in arrays]


def product(left: sparse.csr_matrix, right: sparse.csr_matrix) -> sparse.csr_matrix:
    """left @ right, to the bit. Where few entries of `right` are touched, scipy works on their columns alone."""
    rows = np.unique(left.indices)
    touched = right.indptr[rows + 1] - right.indptr[rows]
    if touched.sum() >= right.shape[1]:
        return left @ right
    part = right[rows]
    names, places = np.unique(part.indices, return_inverse=True)
    narrow = sparse.csr_matrix((part.data, places, part.indptr), shape=(len(rows), len(names)))
    few = sparse.csr_matrix(
        (left.data, np.searchsorted(rows, left.indices), left.indptr), shape=(left.shape[0], len(rows))
    )
    found = few @ narrow
    return sparse.csr_matrix((found.data, names[found.indices], found.indptr), shape=(left.shape[0], right.shape[1]))


def plus(left: Weights, right: Weights) -> Weights:
    """Their sum, sparse where both are; an array among them may be the one that holds it."""
    if not isinstance(left, np.ndarray):
        if not isinstance(right, np.ndarray):
            return left + right
        left, right = right, left
    add(left, right, None)
    return left


def columns(weights: Weights, wanted: np.ndarray | None) -> np.ndarray:
    """The columns `wanted`, int64 (c,) without repetition, or all, as an array (r, c)."""
    if isinstance(weights, np.ndarray):
        return weights if wanted is None else weights[:, wanted]
    if wanted is None:
        return weights.toarray()
    dense = np.zeros((weights.shape[0], len(wanted)), dtype=weights.dtype)
    if not len(wanted):
        return dense
    order = np.argsort(wanted)
    places = order[np.minimum(np.searchsorted(wanted, weights.indices, sorter=order), len(wanted) - 1)]
    hit = wanted[places] == weights.indices
    dense[_rows(weights)[hit], places[hit]] = weights.data[hit]
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
        total[_rows(weights), weights.indices] += weights.data
    else:
        total += columns(weights, wanted)


def _rows(matrix: sparse.csr_matrix) -> np.ndarray:
    """The row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
