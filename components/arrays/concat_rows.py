"""A lazy concatenation of two arrays by rows, without a copy of either."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ConcatRows:
    """The rows of `first` (n, d), which may be memory-mapped, followed by those of `later` (m, d).

    Supports row indexing and products with all rows (`vectors @ stacked.T`). Any other access makes a full copy.
    """

    def __init__(self, first: NDArray[Any], later: NDArray[Any]) -> None:
        self.first, self.later = first, later
        self.shape = (len(first) + len(later), first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate([self.first, self.later]).astype(dtype or self.first.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        """A copy of the rows at integer positions (r,); the full slice `[:]` returns the object itself."""
        if isinstance(index, slice) and index == slice(None):
            return self
        rows = np.asarray(index)
        in_later = rows >= len(self.first)
        if not in_later.any():
            return take_rows(self.first, rows)
        result = np.empty((*rows.shape, self.shape[1]), self.first.dtype)
        result[~in_later], result[in_later] = self.first[rows[~in_later]], self.later[rows[in_later] - len(self.first)]
        return result

    @property
    def T(self) -> "TransposedRows":
        """The transpose, for use as the right operand of `@` only."""
        return TransposedRows(self)


def take_rows(array: NDArray[Any], rows: slice | NDArray[np.int64]) -> NDArray[Any]:
    """`array[rows]` for an array or a `ConcatRows` (n, d). `np.take` is faster than indexing with positions (r,)."""
    if isinstance(array, np.ndarray) and isinstance(rows, np.ndarray):
        return array.take(rows, axis=0)
    return array[rows]


class TransposedRows:
    """The transpose of a `ConcatRows` (n + m, d) as the right operand of a product."""

    __array_ufunc__ = None  # makes numpy defer to __rmatmul__

    def __init__(self, stacked: ConcatRows) -> None:
        self._stacked = stacked

    def __rmatmul__(self, left: NDArray[Any]) -> NDArray[Any]:
        """The product (u, n + m) with `left` (u, d)."""
        return np.hstack([left @ self._stacked.first.T, left @ self._stacked.later.T])
