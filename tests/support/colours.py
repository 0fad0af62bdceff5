"""People who keep to items of one colour: what most small worlds of the tests are made of."""

import numpy as np


def visits(users: int, items: int, each: int | tuple[int, int], seed: int = 0) -> list[tuple[int, int, int]]:
    """(user, item, which visit of theirs): even users keep to even items, odd ones to odd ones, in any order.

    each: visits of a user, or the bounds [low, high) that they are drawn from.
    """
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        tour = random.permutation(np.arange(user % 2, items, 2))
        count = each if isinstance(each, int) else random.integers(*each)
        rows += [(user, int(item), step) for step, item in enumerate(tour[:count])]
    return rows
