"""Toy interactions: each user visits only items of one colour. Most toy data sets of the tests are built on it."""

import numpy as np


def visits(users: int, items: int, per_user: int | tuple[int, int], seed: int = 0) -> list[tuple[int, int, int]]:
    """Rows (user, item, step): even users visit even items, odd users odd items, in random order.

    Args:
        per_user: Number of visits per user, or the bounds [low, high) to draw it from.
    """
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        shuffled = random.permutation(np.arange(user % 2, items, 2))
        count = per_user if isinstance(per_user, int) else random.integers(*per_user)
        rows += [(user, int(item), step) for step, item in enumerate(shuffled[:count])]
    return rows
