import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from sklearn.metrics import ndcg_score

from components.evaluation import metrics

SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 12)),
    elements=st.sampled_from([0.0, 1.0, -2.0, 3.5, np.nan, -np.inf]),
)
LISTS = np.array([[3, 1, 2], [0, 2, -1], [4, -1, -1]])


@settings(deadline=None)
@given(SCORES, st.integers(1, 15), st.data())
def test_top_k_is_a_stable_sort_without_what_is_excluded(scores: np.ndarray, k: int, data: st.DataObject) -> None:
    excluded = data.draw(arrays.arrays(bool, scores.shape))
    lists = metrics.top_k(scores, k, sparse.csr_matrix(excluded))
    for row, found in enumerate(lists):
        allowed = [i for i in range(scores.shape[1]) if scores[row, i] > -np.inf and not excluded[row, i]]
        expected = sorted(allowed, key=lambda i: -scores[row, i])[:k]
        assert found.tolist() == expected + [-1] * (k - len(expected))
    as_rows = [np.flatnonzero(row) for row in excluded]
    assert metrics.top_k(scores, k, as_rows).tolist() == lists.tolist()


def test_top_k_leaves_the_scores_alone_and_takes_no_rows() -> None:
    scores = np.array([[1.0, 2.0]])
    metrics.top_k(scores, 2, [np.array([1])])
    assert scores.tolist() == [[1.0, 2.0]]
    assert metrics.top_k(np.empty((0, 4)), 3).shape == (0, 3)


def test_rank_in_parts_equals_ranking_at_once() -> None:
    scores = np.random.default_rng(0).random((1300, 20))
    seen = sparse.csr_matrix(scores > 0.9)
    assert (metrics.rank(lambda part: scores[part], seen, 5) == metrics.top_k(scores, 5, seen)).all()
    assert metrics.rank(lambda part: scores[part], [], 5).shape == (0, 5)


def test_values_by_hand() -> None:
    ranks = metrics.target_ranks(LISTS, np.array([1, 2, 3]), 3)
    assert ranks.tolist() == [2, 2, 0]
    assert metrics.hit_rate(ranks).tolist() == [1, 1, 0]
    assert metrics.ndcg(ranks) == pytest.approx([1 / np.log2(3), 1 / np.log2(3), 0])
    assert metrics.reciprocal_rank(ranks).tolist() == [0.5, 0.5, 0]
    assert metrics.target_ranks(LISTS, np.array([1, 2, 3]), 1).tolist() == [0, 0, 0]
    assert metrics.coverage(LISTS) == 5


def test_a_target_outside_the_catalogue_is_no_empty_place() -> None:
    assert metrics.target_ranks(LISTS, np.array([-1, -1, -1]), 3).tolist() == [0, 0, 0]


def test_ndcg_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    scores = random.random((200, 30))
    targets = random.integers(0, 30, 200)
    ours = metrics.ndcg(metrics.target_ranks(metrics.top_k(scores, 10), targets, 10))
    assert ours.mean() == pytest.approx(ndcg_score(np.eye(30)[targets], scores, k=10))


@settings(deadline=None)
@given(arrays.arrays(np.int64, (8, 10), elements=st.integers(-1, 30)), st.integers(0, 2**32 - 1))
def test_metrics_are_bounded_ordered_and_grow_with_k(lists: np.ndarray, seed: int) -> None:
    targets = np.random.default_rng(seed).integers(-1, 30, 8)
    before = np.zeros(8)
    for k in range(1, 11):
        ranks = metrics.target_ranks(lists, targets, k)
        hit, ndcg, mrr = metrics.hit_rate(ranks), metrics.ndcg(ranks), metrics.reciprocal_rank(ranks)
        assert ((mrr >= 0) & (mrr <= ndcg) & (ndcg <= hit) & (hit <= 1)).all()
        assert (ndcg >= before).all()
        before = ndcg


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_renaming_the_items_changes_nothing(renamed: list[int]) -> None:
    random, names = np.random.default_rng(3), np.array(renamed)
    lists, targets = np.array([random.permutation(12)[:5] for _ in range(20)]), random.integers(0, 12, 20)
    share, texts = random.uniform(0.1, 1, 12), random.normal(size=(12, 4))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    moved_share, moved_texts = np.empty(12), np.empty((12, 4))
    moved_share[names], moved_texts[names] = share, texts
    ranks = metrics.target_ranks(lists, targets, 5)
    assert (metrics.target_ranks(names[lists], names[targets], 5) == ranks).all()
    assert metrics.coverage(names[lists]) == metrics.coverage(lists)
    assert metrics.novelty(names[lists], moved_share) == pytest.approx(metrics.novelty(lists, share))
    assert metrics.diversity(names[lists], moved_texts) == pytest.approx(metrics.diversity(lists, texts))


def test_share_counts_training_users_and_gives_unknown_items_less_than_one_person() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32))
    assert metrics.user_share(matrix) == pytest.approx([1, 1 / 2, 1 / 3])


def test_novelty_by_hand() -> None:
    novelty = metrics.novelty(np.array([[0, 1], [2, -1], [-1, -1]]), np.array([1.0, 0.25, 0.125]))
    assert novelty[:2].tolist() == [1.0, 3.0]
    assert np.isnan(novelty[2])


def test_diversity_by_hand() -> None:
    texts = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 3, -1], [-1, -1, -1]])
    diversity = metrics.diversity(lists, texts)
    assert diversity[:3] == pytest.approx([0, 1, 2 / 3])
    assert np.isnan(diversity[3:]).all()
