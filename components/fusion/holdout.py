"""The validation split of a training run: targets of a few users, taken from the training side of the cut."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from components.histories.sequences import Documents, Sequences
from components.histories.states import UserState
from components.histories.trends import PastTrend, Trend

HeldOut = Literal["last", "recent"]
SHARE = 0.02
FEWEST_USERS = 100
MOST_USERS = 2000


@dataclass(frozen=True)
class Validation:
    """Users whose next item is known but not learned. targets: int64 (V,) rows, one for each state; trend: what was
    wanted lately, as of any moment, by the events that are learned."""

    states: list[UserState]
    targets: np.ndarray
    trend: Trend | None = None


NONE_HELD_OUT = Validation([], np.empty(0, dtype=np.int64))


def gain(ranks: np.ndarray) -> np.ndarray:
    """1 / log2(rank + 1): NDCG with no cut-off, of ranks from 1.

    Every target counts, not only those of the first places: choices that are made by it are less noisy.
    """
    return 1 / np.log2(ranks + 1)


def hold_out(
    sequences: Sequences, n_items: int, documents: Documents, kind: HeldOut, seed: int
) -> tuple[Sequences, Validation]:
    """Takes a validation split off the histories; what is held out is masked as a target and as an input.

    `last`: the last event of a seeded sample of users. `recent`: the last events nearest to the cut, which is where the
    service will stand. SHARE of the events are held out, but of at least FEWEST_USERS and at most MOST_USERS users, as
    far as there are so many.
    """
    last = sequences.offsets[1:] - 1
    eligible = np.flatnonzero((np.diff(sequences.offsets) >= 3) & (sequences.signals[last] > 0))
    limit = int(np.clip(SHARE * len(sequences.items), FEWEST_USERS, MOST_USERS))
    order = np.random.default_rng(seed).permutation(eligible)
    if kind == "recent":
        order = order[np.argsort(-sequences.times[last[order]], kind="stable")]
    chosen = order[:limit]
    chosen.sort()
    states = sequences.states(chosen, sequences.times[last[chosen]], documents, ends=last[chosen])
    masked = sequences.signals.copy()
    masked[last[chosen]] = 0
    liked = masked > 0
    trend = PastTrend(sequences.items[liked], sequences.times[liked], n_items)
    return replace(sequences, signals=masked), Validation(states, sequences.items[last[chosen]], trend)
