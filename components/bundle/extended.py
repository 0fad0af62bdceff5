"""A bundle extended by new items, which were added after its training and are represented by their texts alone."""

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.arrays.concat_rows import ConcatRows
from components.arrays.sparse import Csr, Rows
from components.bundle.bundle import Bundle, project
from components.core.columns import Columns
from components.store.item_vectors import EncodedItem


@dataclass(frozen=True, kw_only=True)
class ExtendedBundle(Bundle):
    """A bundle whose last rows are new items.

    Attributes:
        own: The trained bundle. Its arrays and its index of rows are shared, not copied.
    """

    own: Bundle

    @cached_property
    def row(self) -> dict[str, int]:
        first = self.own.items.num_rows
        new_rows = self.items[Columns.ITEM].slice(first).to_pylist()
        return cast(dict[str, int], ChainMap({item: first + n for n, item in enumerate(new_rows)}, self.own.row))


def extend(bundle: Bundle, items: Sequence[EncodedItem]) -> ExtendedBundle:
    """Appends new items, none of which the bundle may contain, in the given order.

    They have no neighbours, no keywords and no popularity, because they have no events yet.
    """
    texts = np.stack([item.vector for item in items])
    size = bundle.items.num_rows + len(items)
    parts = {field.name: getattr(bundle, field.name) for field in fields(Bundle)} | {
        "items": pa.concat_tables([bundle.items, _table(items, bundle.items.schema)]),
        "vectors": _concat(bundle.vectors, project(texts, bundle.text_mean, bundle.text_matrix)),
        "texts": _concat(bundle.texts, texts),
        "neighbours": _with_empty_rows(bundle.neighbours, (size, size)),
        "keywords": _with_empty_rows(bundle.keywords, (size, bundle.keywords.shape[1])),
    }
    return ExtendedBundle(**parts, own=bundle)


def _table(items: Sequence[EncodedItem], schema: pa.Schema) -> pa.Table:
    columns = (Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.AVAILABLE, Columns.PUBLISHED_AT)
    columns_by_name = {name: [getattr(item, name) for item in items] for name in columns}
    untrained = {"popularity": [0] * len(items), "recent": [0] * len(items), "trained": [False] * len(items)}
    return pa.table(columns_by_name | untrained, schema=schema)


def _concat(first: NDArray[np.float32], new_rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Concatenates lazily: `ConcatRows` supports what the recommender does with an array."""
    return cast(NDArray[np.float32], ConcatRows(first, new_rows.astype(first.dtype, copy=False)))


def _with_empty_rows(matrix: Csr, shape: tuple[int, int]) -> Rows:
    ends = np.pad(matrix.indptr, (0, shape[0] - matrix.shape[0]), mode="edge")
    return Rows(matrix.data, matrix.indices, ends, shape)
