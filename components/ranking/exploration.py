"""Showing, now and then, what does not score best: only so can feedback tell what another list would have brought."""

from typing import NamedTuple

import numpy as np


class Placed(NamedTuple):
    """How an item came to its place, given what stands above it.

    propensity: how likely it was to stand there, in (0, 1]. greedy: whether without exploration it stands there.
    """

    propensity: float
    greedy: bool


CERTAIN = Placed(1.0, greedy=True)


class Exploration:
    """Epsilon-greedy (Watkins 1989) at each place of one list: with probability `share` the item is drawn uniformly
    from all candidates that may stand there, else it is the best of them.

    Of n candidates the best one has the propensity 1 - share + share / n, each other one share / n. The draws are those
    of the answer's request_id, 32 hexadecimal digits: from the same candidates it has the same list again.
    """

    def __init__(self, share: float, request_id: str) -> None:
        self._share = share
        self._random = np.random.default_rng(int(request_id, 16))
        self.places: list[Placed] = []
        """Of the items picked so far, in their order."""

    def pick(self, values: np.ndarray) -> int:
        """A position of `values` float (c,), -inf for those that may not stand at this place."""
        best = int(np.argmax(values))
        candidates = np.flatnonzero(values > -np.inf)
        picked = best
        if self._random.random() < self._share:
            picked = int(self._random.choice(candidates))
        drawn = self._share / len(candidates)
        self.places.append(Placed(drawn + (1.0 - self._share if picked == best else 0.0), picked == best))
        return picked
