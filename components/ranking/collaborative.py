"""Item-item weights from who had what: EASE for small catalogues, item-kNN for large ones."""

import numpy as np
from scipy import sparse

from components.settings import RankingSettings


def item_neighbours(
    users: np.ndarray, items: np.ndarray, shape: tuple[int, int], settings: RankingSettings
) -> sparse.csr_matrix:
    """Sparse (items, items) weights, rows = item of the history, at most `settings.neighbours` a row.

    users, items: int rows of positive interactions; shape: (number of users, number of items).
    """
    matrix = sparse.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1.0
    if shape[1] < settings.dense_below:
        weights = ease(matrix, settings.ease_regularization)
        return keep_largest(weights, settings.neighbours)
    return item_knn(matrix, settings.neighbours)


def ease(matrix: sparse.csr_matrix, regularization: float) -> np.ndarray:
    """B = I - P diag(1/diag(P)), P = (X'X + λI)^-1 (Steck 2019, Embarrassingly Shallow Autoencoders, eq. 8)."""
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


def keep_largest(weights: np.ndarray, count: int) -> sparse.csr_matrix:
    """The `count` entries of each row with the largest magnitude, as a sparse matrix."""
    if weights.shape[1] > count:
        magnitude = np.abs(weights)
        threshold = np.partition(magnitude, -count, axis=1)[:, -count][:, None]
        weights = np.where(magnitude >= threshold, weights, 0.0)
    return sparse.csr_matrix(weights)


def item_knn(matrix: sparse.csr_matrix, count: int) -> sparse.csr_matrix:
    """Cosine similarity of TF-IDF weighted items: implicit's TFIDFRecommender."""
    from implicit.nearest_neighbours import TFIDFRecommender

    model = TFIDFRecommender(K=count + 1, num_threads=1)  # an item is its own nearest neighbour
    model.fit(matrix, show_progress=False)
    similarity = model.similarity.tocsr().astype(np.float32)
    similarity.setdiag(0.0)
    similarity.eliminate_zeros()
    largest = similarity.max()
    return (similarity / largest if largest > 0 else similarity).tocsr()
