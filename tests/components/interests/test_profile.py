import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from components.interests.profile import strongest, top_terms

MATRIX = sparse.csr_matrix(np.array([[1, 0, 2], [1, 1, 0]], dtype=np.float32))
TERMS = ["apple", "pear", "plum"]


def test_terms_are_ranked_by_their_sum_over_the_items() -> None:
    assert top_terms(np.array([1.0, 2.0]), MATRIX, TERMS, 2) == [("apple", 3.0), ("pear", 2.0)]


def test_a_dislike_takes_away_and_terms_that_are_not_liked_are_left_out() -> None:
    assert top_terms(np.array([1.0, -0.5]), MATRIX, TERMS, 3) == [("plum", 2.0), ("apple", 0.5)]
    assert top_terms(np.array([1.0, -1.0]), MATRIX, TERMS, 3) == [("plum", 2.0)]
    assert top_terms(np.zeros(2), MATRIX, TERMS, 3) == []


@given(st.lists(st.integers(-9, 9).map(float), max_size=20), st.integers(1, 5), st.floats(1e-6, 1e6))
def test_strongest_are_the_first_of_a_stable_sort_at_any_scale(values: list[float], k: int, scale: float) -> None:
    expected = [i for i in sorted(range(len(values)), key=lambda i: -values[i]) if values[i] > 0][:k]
    assert strongest(np.array(values) * scale, k).tolist() == expected
