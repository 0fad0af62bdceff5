"""Approximate nearest neighbours by inner product: a faiss inverted-file index over item vectors.

IVF (Jégou et al. 2011, Product Quantization for Nearest Neighbor Search) with 4-bit product quantization of the
residuals (André et al. 2015, Cache Locality is not Enough). The codes are coarse: request more neighbours than are
needed and score them exactly.

Lists are clustered by distance, so that similar vectors share a list. They are probed by the inner product with their
centroid, which equals the mean inner product of their vectors.
"""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LISTS_PER_ROOT = 4
"""Number of lists, as a multiple of the square root of the index size."""
LISTS_READ = 200
"""Lists probed per search when no item is filtered out."""
VECTORS_PER_LIST = 50
"""Training vectors per list for the k-means that places the centroids."""
CHUNK = 100_000
SINGLE_QUERY_SCAN = 11
"""faiss `implem` that scans one list after the other for a single query; the default is tuned for batches."""


class NearestItems:
    """An index over the rows 0 to `size`. Searches are thread-safe."""

    def __init__(self, index: Any) -> None:
        """
        Args:
            index: A faiss inverted-file index (`IndexIVF`).
        """
        self._index = index
        self.size: int = index.ntotal

    @classmethod
    def build(
        cls, size: int, vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]], dims_per_code: int = 2
    ) -> "NearestItems":
        """Trains and fills an index.

        Args:
            size: Number of rows.
            vectors: Returns the vectors (r, d) of rows (r,); called once per chunk of rows.
            dims_per_code: Dimensions quantized together, 1 or 2. One is more precise and takes more space.
        """
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
        """Writes the index in faiss' own format."""
        faiss = _faiss()
        faiss.write_index(self._index, str(file))

    @classmethod
    def read(cls, file: Path) -> "NearestItems":
        """Reads an index that `write` wrote.

        Raises:
            OSError: The file is not a faiss index.
        """
        faiss = _faiss()
        try:
            return cls(faiss.read_index(str(file)))
        except RuntimeError as error:
            raise OSError(f"{file} is no index: {error}") from error

    def search(self, vector: NDArray[np.floating], count: int, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Approximate nearest rows of a vector, in no particular order.

        The fewer rows the mask allows, the more lists are probed, so that about as many allowed vectors are compared.

        Args:
            vector: Query (d,).
            count: Maximum number of rows.
            mask: Rows that may be returned, of length `size` or more.
        """
        faiss = _faiss()
        allowed_share = max(np.count_nonzero(mask[: self.size]) / self.size, 1 / self.size)
        lists_read = min(self._index.nlist, math.ceil(LISTS_READ / allowed_share))
        bits = np.packbits(mask[: self.size], bitorder="little")
        parameters = faiss.SearchParametersIVF(nprobe=lists_read, sel=faiss.IDSelectorBitmap(bits))
        _, rows = self._index.search(_pad_to_even(vector[None]), min(count, self.size), params=parameters)
        return rows[0][rows[0] >= 0]


def _faiss() -> Any:
    """faiss, imported on first use because most catalogues need no index. Its type hints omit dynamic attributes."""
    return import_module("faiss")


def _pad_to_even(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors (r, d) with a zero appended where d is odd, because a code may cover a pair of dimensions."""
    count, width = vectors.shape
    even = np.zeros((count, width + width % 2), dtype=np.float32)
    even[:, :width] = vectors
    return even
