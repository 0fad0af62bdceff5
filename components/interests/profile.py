"""What items are of, by term and category, and the strongest of a profile. Light (numpy): the service imports it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.arrays.arrow import numbers
from components.arrays.sparse import Csr, Rows
from components.core.columns import Columns

if TYPE_CHECKING:  # the service starts sooner without it
    import pandas as pd


@dataclass(frozen=True)
class Keywords:
    """matrix: float32 (items, terms), the weight of a term for an item; terms: the names of its columns, sorted."""

    matrix: Csr
    terms: list[str]


def strongest(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the `k` largest positive values, largest first, equal ones in their order.

    Values are compared to six digits of the largest one, so that the order in which a sum was formed decides nothing.
    """
    (positive,) = np.nonzero(values > 0)
    scaled = (values[positive] / np.abs(values).max(initial=0.0)).round(6)
    best = (-scaled).argsort(kind="stable")[:k]
    return positive[best[scaled[best] > 0]]


def item_categories(items: "pd.DataFrame") -> Keywords:
    """The categories of each item of an items frame."""
    lists = [names if isinstance(names, list | np.ndarray) else [] for names in items[Columns.CATEGORY]]
    return listed_categories(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))


def listed_categories(categories: pa.ChunkedArray) -> Keywords:
    """A one where an item is of a category; names in alphabetical order. categories: lists, as a bundle has them."""
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
