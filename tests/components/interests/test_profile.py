import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.interests.profile import strongest


@given(st.lists(st.integers(-9, 9).map(float), max_size=20), st.integers(1, 5), st.floats(1e-6, 1e6))
def test_strongest_are_the_first_of_a_stable_sort_at_any_scale(values: list[float], k: int, scale: float) -> None:
    expected = [i for i in sorted(range(len(values)), key=lambda i: -values[i]) if values[i] > 0][:k]
    assert strongest(np.array(values) * scale, k).tolist() == expected
