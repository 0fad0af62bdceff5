"""The items nearest to a vector by inner product, without a look at all of them.

faiss' inverted file (Jégou et al. 2011, Product Quantization for Nearest Neighbor Search) with codes of 4 bits (André
et al. 2015, Cache Locality is not Enough) for what a vector has beside the mean of its list: it reads some of the
lists, and is a rough sieve, so ask for more than is wanted and score what comes back.

Lists are made by distance, so that what lies together is read together, and chosen by the inner product with their
mean, which is the mean of their items' inner products.
"""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LISTS_PER_ROOT = 4
"""Lists of an index, times the root of its size."""
LISTS_READ = 200
"""Lists that are read."""
VECTORS_PER_LIST = 50
"""Vectors a list that the lists are learned from."""
CHUNK = 100_000
SINGLE_QUERY_SCAN = 11
"""faiss' code for reading list after list for one vector: its default is made for many at once."""


class NearestItems:
    """An index over the rows 0 to `size`. Any thread may search."""

    def __init__(self, index: Any) -> None:
        """index: of faiss, an inverted file."""
        self._index = index
        self.size: int = index.ntotal

    @classmethod
    def build(
        cls, size: int, vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]], dims_per_code: int = 2
    ) -> "NearestItems":
        """vectors: the float32 vectors (r, d) of int64 rows (r,); they are asked for in chunks. coded: how many
        dimensions share a code, 1 or 2."""
        faiss = _faiss()
        lists = max(1, int(LISTS_PER_ROOT * math.sqrt(size)))
        sample = np.random.default_rng(0).choice(size, min(size, VECTORS_PER_LIST * lists), replace=False)
        training_vectors = _pad_to_even(vectors(np.sort(sample)))
        width = training_vectors.shape[1]
        index = faiss.index_factory(width, f"IVF{lists},PQ{width // dims_per_code}x4fsr", faiss.METRIC_INNER_PRODUCT)
        index.quantizer.metric_type = faiss.METRIC_L2
        index.cp.spherical = False
        index.cp.max_points_per_centroid = VECTORS_PER_LIST
        index.train(training_vectors)
        for start in range(0, size, CHUNK):
            index.add(_pad_to_even(vectors(np.arange(start, min(start + CHUNK, size)))))
        index.quantizer.metric_type = faiss.METRIC_INNER_PRODUCT
        index.implem = SINGLE_QUERY_SCAN
        return cls(index)

    def write(self, file: Path) -> None:
        faiss = _faiss()
        faiss.write_index(self._index, str(file))

    @classmethod
    def read(cls, file: Path) -> "NearestItems":
        """Raises OSError when the file is no index."""
        faiss = _faiss()
        try:
            return cls(faiss.read_index(str(file)))
        except RuntimeError as error:
            raise OSError(f"{file} is no index: {error}") from error

    def search(self, vector: NDArray[np.floating], count: int, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """At most `count` int64 rows under `mask`, bool (size or more,), that lie near to `vector` (d,), in any order.

        The fewer rows the mask leaves, the more lists are read, so that as many of its vectors are compared.
        """
        faiss = _faiss()
        allowed_share = max(np.count_nonzero(mask[: self.size]) / self.size, 1 / self.size)
        lists_read = min(self._index.nlist, math.ceil(LISTS_READ / allowed_share))
        bits = np.packbits(mask[: self.size], bitorder="little")
        parameters = faiss.SearchParametersIVF(nprobe=lists_read, sel=faiss.IDSelectorBitmap(bits))
        _, rows = self._index.search(_pad_to_even(vector[None]), min(count, self.size), params=parameters)
        return rows[0][rows[0] >= 0]


def _faiss() -> Any:
    """Imported when first needed, as most catalogues do without; its type hints lack what it adds to itself."""
    return import_module("faiss")


def _pad_to_even(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The vectors (r, d), with a zero behind each where d is odd: codes stand for pairs of dimensions."""
    count, width = vectors.shape
    even = np.zeros((count, width + width % 2), dtype=np.float32)
    even[:, :width] = vectors
    return even
