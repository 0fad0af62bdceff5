"""The validation split of a training run: targets of a few users, taken from the training side of the cut."""

import logging
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from components.fusion.sequences import Documents, Sequences
from components.ranking.states import UserState

log = logging.getLogger(__name__)

HeldOut = Literal["last", "recent"]
SHARE = 0.02
FEWEST_USERS = 100
MOST_USERS = 2000


@dataclass(frozen=True)
class Validation:
    """Users whose next item is known but not learned. targets: int64 (V,) rows, one for each state."""

    states: list[UserState]
    targets: np.ndarray


def hold_out(sequences: Sequences, documents: Documents, kind: HeldOut, seed: int) -> tuple[Sequences, Validation]:
    """Takes a validation split off the histories; what is held out is masked as a target and as an input.

    `last`: the last event of a seeded sample of users. `recent`: the same, but only of users whose last event lies in
    the last tenth of the time, as a service sees them; when they are under FEWEST_USERS, of all users. At most SHARE of
    the events are held out, of MOST_USERS users.
    """
    last = sequences.offsets[1:] - 1
    eligible = np.flatnonzero((np.diff(sequences.offsets) >= 3) & (sequences.signals[last] > 0))
    if kind == "recent":
        late = eligible[sequences.times[last[eligible]] >= np.quantile(sequences.times, 0.9)]
        if len(late) >= FEWEST_USERS:
            eligible = late
        else:
            log.info("only %d users are active in the last tenth: validating on the last event of all users", len(late))
    limit = int(np.clip(SHARE * len(sequences.items), FEWEST_USERS, MOST_USERS))
    chosen = np.random.default_rng(seed).permutation(eligible)[:limit]
    chosen.sort()
    states = sequences.states(chosen, sequences.times[last[chosen]], documents, ends=last[chosen])
    masked = sequences.signals.copy()
    masked[last[chosen]] = 0
    return replace(sequences, signals=masked), Validation(states, sequences.items[last[chosen]])
