"""Arrow columns as numpy arrays without pandas, which pyarrow's own `to_numpy` would import."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """A column without nulls as an array (n,) of integers, floats or booleans."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).astype(bool)
    return np.from_dlpack(array)
