"""Two arrays that are read as one, without a copy of either."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ConcatRows:
    """The rows of `first` (n, d), which may lie on the disk, and after them those of `later` (m, d).

    Rows may be taken of it, and vectors multiplied with all of it (`vectors @ stacked.T`); whoever reads it in another
    way gets a copy.
    """

    def __init__(self, first: NDArray[Any], later: NDArray[Any]) -> None:
        self.first, self.later = first, later
        self.shape = (len(first) + len(later), first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate([self.first, self.later]).astype(dtype or self.first.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        """The rows at int64 (r,), a copy; of all, the same."""
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
        return TransposedRows(self)


def take_rows(array: NDArray[Any], rows: slice | NDArray[np.int64]) -> NDArray[Any]:
    """`array[of]`, of an array (n, d), stacked or not, in less time where `of` are rows, int (r,)."""
    if isinstance(array, np.ndarray) and isinstance(rows, np.ndarray):
        return array.take(rows, axis=0)
    return array[rows]


class TransposedRows:
    """A stacked array (n + m, d) as the right side of a product."""

    __array_ufunc__ = None  # numpy leaves the product to this class

    def __init__(self, stacked: ConcatRows) -> None:
        self._stacked = stacked

    def __rmatmul__(self, left: NDArray[Any]) -> NDArray[Any]:
        """(u, n + m) of `left` (u, d)."""
        return np.hstack([left @ self._stacked.first.T, left @ self._stacked.later.T])
