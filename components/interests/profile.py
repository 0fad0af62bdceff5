"""Item terms and categories as sparse matrices, and top terms of a profile. Numpy only: the service imports it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.arrays.sparse import Csr, Rows
from components.core.columns import Columns

if TYPE_CHECKING:  # not imported at run time: the service starts faster without pandas
    import pandas as pd


@dataclass(frozen=True)
class Keywords:
    """Weighted terms of items.

    Attributes:
        matrix: Weight of each term per item, float32 (items, terms).
        terms: Names of the columns, sorted.
    """

    matrix: Csr
    terms: list[str]


def strongest(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the `k` largest positive values, descending; ties keep their order.

    Values are rounded to six decimals of the largest one, so that ties do not depend on the order of summation.
    """
    (positive,) = np.nonzero(values > 0)
    scaled = (values[positive] / np.abs(values).max(initial=0.0)).round(6)
    best = (-scaled).argsort(kind="stable")[:k]
    return positive[best[scaled[best] > 0]]


def item_categories(items: "pd.DataFrame") -> Keywords:
    """The categories of each item in an items frame, as a binary matrix."""
    lists = [names if isinstance(names, list | np.ndarray) else [] for names in items[Columns.CATEGORY]]
    return listed_categories(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))


def listed_categories(categories: pa.ChunkedArray) -> Keywords:
    """Binary item-category matrix from a column of lists, as in a bundle; category names in alphabetical order."""
    lists = categories.cast(pa.list_(pa.string())).combine_chunks()
    named = lists.flatten().dictionary_encode()
    rows = numbers(lists.value_parent_indices())
    names = np.array(named.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    codes = np.argsort(order)[numbers(named.indices)]
    shape = (len(categories), len(names))
    cells = np.unique(rows * len(names) + codes)
    starts = np.searchsorted(cells, np.arange(shape[0] + 1) * len(names))
    matrix = Rows(np.ones(len(cells), np.float32), cells % max(len(names), 1), starts, shape)
    return Keywords(matrix, names[order].tolist())
