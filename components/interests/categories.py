"""Which item is of which categories."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components.arrays.arrow import numbers
from components.arrays.sparse import Rows
from components.core.columns import Columns
from components.interests.profile import Keywords

if TYPE_CHECKING:  # the service starts sooner without it
    import pandas as pd


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
