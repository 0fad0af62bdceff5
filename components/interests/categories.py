"""Which item is of which categories."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy import sparse

from components.arrow import numbers
from components.columns import Columns
from components.interests.keywords import Keywords

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
    ones = np.ones(len(codes), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, (rows, codes)), shape=(len(categories), len(names)))
    matrix.data[:] = 1.0
    return Keywords(matrix, names[order].tolist())
