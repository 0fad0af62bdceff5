import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import sparse

from components.arrays.topk import rank, top_k

SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 12)),
    elements=st.sampled_from([0.0, 1.0, -2.0, 3.5, np.nan, -np.inf]),
)


@settings(deadline=None)
@given(SCORES, st.integers(1, 15), st.data())
def test_top_k_is_a_stable_sort_without_what_is_excluded(
    scores: NDArray[np.float32], k: int, data: st.DataObject
) -> None:
    excluded = data.draw(arrays.arrays(bool, scores.shape))
    lists = top_k(scores, k, sparse.csr_matrix(excluded))
    for row, best in enumerate(lists):
        allowed = [i for i in range(scores.shape[1]) if scores[row, i] > -np.inf and not excluded[row, i]]
        expected = sorted(allowed, key=lambda i: -scores[row, i])[:k]
        assert best.tolist() == expected + [-1] * (k - len(expected))
    as_rows = [np.flatnonzero(row) for row in excluded]
    assert top_k(scores, k, as_rows).tolist() == lists.tolist()


def test_top_k_leaves_the_scores_alone_and_takes_no_rows() -> None:
    scores = np.array([[1.0, 2.0]])
    top_k(scores, 2, [np.array([1])])
    assert scores.tolist() == [[1.0, 2.0]]
    assert top_k(np.empty((0, 4)), 3).shape == (0, 3)


def test_rank_in_parts_equals_ranking_at_once() -> None:
    scores = np.random.default_rng(0).random((1300, 20))
    seen = sparse.csr_matrix(scores > 0.9)
    assert (rank(lambda part: scores[part], seen, 5) == top_k(scores, 5, seen)).all()
    assert rank(lambda part: scores[part], [], 5).shape == (0, 5)
