"""Which item is of which categories."""

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from components.columns import Columns
from components.interests.keywords import Keywords


def item_categories(items: pd.DataFrame) -> Keywords:
    """The categories of each item: a one where the item is of the category; names in alphabetical order."""
    exploded = items[Columns.CATEGORY].reset_index(drop=True).explode().dropna()
    codes, names = pd.factorize(exploded, sort=True)
    ones = np.ones(len(codes), dtype=np.float32)
    rows = exploded.index.to_numpy(dtype=np.int64)
    matrix = sparse.csr_matrix((ones, (rows, codes)), shape=(len(items), len(names)))
    matrix.data[:] = 1.0
    return Keywords(matrix, [str(name) for name in names])


def listed_categories(categories: pa.ChunkedArray) -> Keywords:
    """`item_categories` of a column of lists, such as a bundle's."""
    lists = categories.cast(pa.list_(pa.string())).combine_chunks()
    named = lists.flatten().dictionary_encode()
    rows = lists.value_parent_indices().to_numpy()
    names = np.array(named.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    codes = np.argsort(order)[named.indices.to_numpy()]
    ones = np.ones(len(codes), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, (rows, codes)), shape=(len(categories), len(names)))
    matrix.data[:] = 1.0
    return Keywords(matrix, names[order].tolist())
