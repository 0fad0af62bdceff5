"""Batches of texts of like length, so that little of the work goes into padding."""

from collections.abc import Sequence

import numpy as np


def batches(lengths: Sequence[int], token_budget: int, batch_size: int) -> list[np.ndarray]:
    """Int64 arrays of positions in `lengths`, each position once, longest texts first.

    A batch has at most `batch_size` texts and `token_budget` tokens, padding to its longest text included; a text
    longer than the budget is a batch of its own. The longest come first, so that memory runs out at once or never.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    found, start = [], 0
    while start < len(order):
        longest = max(lengths[order[start]], 1)
        size = max(min(batch_size, token_budget // longest), 1)
        found.append(order[start : start + size])
        start += size
    return found
