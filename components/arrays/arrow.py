"""Columns of Arrow as arrays of numpy, without pandas: pyarrow loads it wherever it makes an array of its own."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """The (n,) integers, floats or booleans, none of them null."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).astype(bool)
    return np.from_dlpack(array)
