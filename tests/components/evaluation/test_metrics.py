import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import ndcg_score

from components.arrays.topk import top_k
from components.evaluation import metrics

LISTS = np.array([[3, 1, 2], [0, 2, -1], [4, -1, -1]])


def test_values_by_hand() -> None:
    ranks = metrics.target_ranks(LISTS, np.array([1, 2, 3]), 3)
    assert ranks.tolist() == [2, 2, 0]
    assert metrics.hit_rate(ranks).tolist() == [1, 1, 0]
    assert metrics.ndcg(ranks) == pytest.approx([1 / np.log2(3), 1 / np.log2(3), 0])
    assert metrics.reciprocal_rank(ranks).tolist() == [0.5, 0.5, 0]
    assert metrics.target_ranks(LISTS, np.array([1, 2, 3]), 1).tolist() == [0, 0, 0]
    assert metrics.coverage(LISTS) == 5


def test_a_target_outside_the_catalogue_never_matches() -> None:
    assert metrics.target_ranks(LISTS, np.array([-1, -1, -1]), 3).tolist() == [0, 0, 0]


def test_ndcg_equals_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    scores = random.random((200, 30))
    targets = random.integers(0, 30, 200)
    ours = metrics.ndcg(metrics.target_ranks(top_k(scores, 10), targets, 10))
    assert ours.mean() == pytest.approx(ndcg_score(np.eye(30)[targets], scores, k=10))


@settings(deadline=None)
@given(arrays.arrays(np.int64, (8, 10), elements=st.integers(-1, 30)), st.integers(0, 2**32 - 1))
def test_metrics_are_bounded_ordered_and_grow_with_k(lists: NDArray[np.int64], seed: int) -> None:
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


def test_share_counts_training_users_and_gives_unknown_items_less_than_one() -> None:
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
