"""People who keep to items of one colour: what most small worlds of the tests are made of."""

import numpy as np


def visits(users: int, items: int, per_user: int | tuple[int, int], seed: int = 0) -> list[tuple[int, int, int]]:
    """(user, item, which visit of theirs): even users keep to even items, odd ones to odd ones, in any order.

    each: visits of a user, or the bounds [low, high) that they are drawn from.
    """
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        shuffled = random.permutation(np.arange(user % 2, items, 2))
        count = per_user if isinstance(per_user, int) else random.integers(*per_user)
        rows += [(user, int(item), step) for step, item in enumerate(shuffled[:count])]
    return rows
