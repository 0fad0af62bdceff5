"""Which items are the tail of a catalogue: all but the few that most people have."""

import numpy as np

HEAD_SHARE = 0.2
"""Share of the items that are the head, by how many events they have."""


def in_tail(popularity: np.ndarray) -> np.ndarray:
    """Bool (n,): outside the fifth of the items with most events, (n,); ties go to the lower row."""
    order = np.argsort(-popularity, kind="stable")
    tail = np.ones(len(popularity), dtype=bool)
    tail[order[: int(np.ceil(HEAD_SHARE * len(popularity)))]] = False
    return tail
