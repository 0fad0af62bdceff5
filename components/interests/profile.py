"""The strongest terms of a profile. Light (numpy, scipy): the service imports it."""

import numpy as np
from scipy import sparse


def top_terms(weights: np.ndarray, matrix: sparse.csr_matrix, terms: list[str], k: int) -> list[tuple[str, float]]:
    """The `k` terms that a person's items have in common.

    weights: (n,), how much the person is for (or, negative, against) each item; matrix: csr (n, terms).
    Strongest first, equal ones by column; only terms whose sum of weights is positive.
    """
    scores = matrix.T @ weights
    return [(terms[column], float(scores[column])) for column in strongest(scores, k)]


def strongest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` largest positive values, largest first, equal ones in their order.

    Values are compared to six digits of the largest one, so that the order in which a sum was formed decides nothing.
    """
    (positive,) = np.nonzero(values > 0)
    scaled = (values[positive] / np.abs(values).max(initial=0.0)).round(6)
    best = (-scaled).argsort(kind="stable")[:k]
    return positive[best[scaled[best] > 0]]
