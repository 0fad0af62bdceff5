from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from components.arrays.topk import top_k
from components.evaluation.baselines import PEERS, Als, Ease, interaction_matrix

TASTE = 20  # items of a taste
NO_EVENT = 2 * TASTE


def planted(seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Two tastes: even users take items of the first, odd ones of the second; the last item has no event."""
    random = np.random.default_rng(seed)
    events = [
        (user, item + TASTE * (user % 2)) for user in range(60) for item in random.choice(TASTE, 10, replace=False)
    ]
    users, items = np.array(events).T
    return users, items, 2 * TASTE + 1


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_recommends_an_unseen_item_of_the_users_taste(name: str) -> None:
    users, items, n_items = planted()
    matrix = interaction_matrix(users, items, (60, n_items))
    model = PEERS[name]().fit(users, items, n_items)
    best = top_k(model.scores(matrix, np.arange(60)), 1, matrix)[:, 0]
    assert (best // TASTE == np.arange(60) % 2).mean() > 0.9


@pytest.mark.parametrize("name", PEERS)
def test_an_item_without_events_is_not_scored_and_a_refit_replaces_the_first_fit(name: str) -> None:
    users, items, n_items = planted()
    histories = interaction_matrix(users, items, (60, n_items))
    fresh = PEERS[name]().fit(users, items, n_items).scores(histories)
    again = PEERS[name]().fit(*planted(seed=1)).fit(users, items, n_items).scores(histories)
    assert (fresh[:, NO_EVENT] == -np.inf).all()
    np.testing.assert_allclose(again, fresh, rtol=1e-4, atol=1e-4)


def test_a_repeated_pair_counts_once() -> None:
    matrix = interaction_matrix(np.array([0, 0, 1]), np.array([2, 2, 0]), (2, 3))
    assert matrix.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_ease_solves_its_ridge_regression() -> None:
    users, items, n_items = planted()
    dense = interaction_matrix(users, items, (60, n_items)).toarray()[:, :NO_EVENT].astype(np.float64)
    scores = Ease().fit(users, items, n_items).scores(sparse.identity(n_items, format="csr", dtype=np.float32))
    for item in range(NO_EVENT):
        others = np.delete(np.arange(NO_EVENT), item)
        gram = dense[:, others].T @ dense[:, others] + 300 * np.eye(NO_EVENT - 1)
        weights = np.linalg.solve(gram, dense[:, others].T @ dense[:, item])
        # the column of the paper's B, which is scored the other way round
        np.testing.assert_allclose(scores[item, others], weights, rtol=1e-3, atol=1e-5)


def test_als_takes_a_known_user_as_fitted_and_folds_in_others() -> None:
    users, items, n_items = planted()
    histories = interaction_matrix(users, items, (60, n_items))
    model = Als().fit(users, items, n_items)
    fitted = model.scores(histories[:2], np.array([0, 1]))
    folded_in = model.scores(histories[:2], np.array([0, 999]))
    np.testing.assert_allclose(folded_in[0], fitted[0])
    np.testing.assert_allclose(folded_in[1, :NO_EVENT], model.scores(histories)[1, :NO_EVENT], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(folded_in[:, :NO_EVENT], fitted[:, :NO_EVENT], atol=0.3)
