"""Which item is of which categories."""

import numpy as np
import pandas as pd
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
