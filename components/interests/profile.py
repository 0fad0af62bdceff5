"""The terms of items and the strongest of a profile. Light (numpy): the service imports it."""

from dataclasses import dataclass

import numpy as np

from components.arrays.sparse import Csr


@dataclass(frozen=True)
class Keywords:
    """matrix: float32 (items, terms), the weight of a term for an item; terms: the names of its columns, sorted."""

    matrix: Csr
    terms: list[str]


def strongest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` largest positive values, largest first, equal ones in their order.

    Values are compared to six digits of the largest one, so that the order in which a sum was formed decides nothing.
    """
    (positive,) = np.nonzero(values > 0)
    scaled = (values[positive] / np.abs(values).max(initial=0.0)).round(6)
    best = (-scaled).argsort(kind="stable")[:k]
    return positive[best[scaled[best] > 0]]
