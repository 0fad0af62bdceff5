"""Which items may be in an answer at all, as a mask over the rows of the bundle."""

from collections.abc import Collection, Sequence

import numpy as np


class CategoryIndex:
    """The rows of each category."""

    def __init__(self, categories: Sequence[Sequence[str]]) -> None:
        """categories: those of each row of the bundle."""
        rows: dict[str, list[int]] = {}
        for row, names in enumerate(categories):
            for name in names:
                rows.setdefault(name, []).append(row)
        self._rows = {name: np.array(found, dtype=np.int64) for name, found in rows.items()}
        self.size = len(categories)

    def mask(self, names: Collection[str]) -> np.ndarray:
        """bool (items,): which items have at least one of the categories; an unknown category has no items."""
        mask = np.zeros(self.size, dtype=bool)
        for name in names:
            mask[self._rows.get(name, [])] = True
        return mask


def eligible(
    index: CategoryIndex,
    excluded: Collection[int] | np.ndarray,
    category_in: Collection[str] | None = None,
    category_out: Collection[str] = (),
) -> np.ndarray:
    """bool (items,): True where an item may be recommended.

    excluded: rows that must not be (seen, disliked, hidden, named by the caller); category_in: at least one of these,
    None for no such wish; category_out: none of these.
    """
    mask = np.ones(index.size, dtype=bool) if category_in is None else index.mask(category_in)
    mask &= ~index.mask(category_out)
    mask[np.array(excluded if isinstance(excluded, np.ndarray) else list(excluded), dtype=np.int64)] = False
    return mask


def best_first(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """int64 rows under the mask by falling score; equal scores in the order of their rows, so that it repeats."""
    rows = np.flatnonzero(mask)
    return rows[np.argsort(-scores[rows], kind="stable")]
