"""Arrow columns as numpy arrays."""

import pyarrow as pa
import pytest

from components.arrays.arrow import numbers


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([3, 1, 2]), [3, 1, 2]),
        (pa.array([3, 1, 2])[1:], [1, 2]),
        (pa.array([True, False, True])[1:], [False, True]),
        (pa.chunked_array([[0.5], [1.5, 2.5]]), [0.5, 1.5, 2.5]),
        (pa.chunked_array([], pa.bool_()), []),
    ],
)
def test_values_are_the_same(column: pa.Array, values: list[object]) -> None:
    array = numbers(column)
    assert array.tolist() == values
    assert array.dtype.name == {"bool": "bool", "int64": "int64", "double": "float64"}[str(column.type)]
