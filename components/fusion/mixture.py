"""How much the collaborative part and the popularity prior add to the fused interest in the hybrid strategy."""

import logging
from dataclasses import replace
from itertools import product

import numpy as np

from components.bundle import Bundle
from components.fusion.holdout import Validation
from components.ranking.scorer import Scorer
from components.ranking.states import UserState

COLLABORATIVE = (0.0, 0.25, 0.5, 1.0)
POPULARITY = (0.02, 0.1, 0.25)
WITHOUT_VALIDATION = {"collaborative": 0.0, "popularity": 0.02}
BATCH = 256

log = logging.getLogger(__name__)


def choose_mixture(bundle: Bundle, validation: Validation) -> dict[str, float]:
    """The weights of the collaborative part and of popularity that rank the held-out targets best (NDCG@10).

    bundle: none of its parts may know the held-out events. The candidates are multiples of the ratio of the parts'
    deviations, so that they mean the same for every model.
    """
    if not validation.states:
        log.warning("no event could be held out: the hybrid keeps its smallest weights, %s", WITHOUT_VALIDATION)
        return WITHOUT_VALIDATION
    plain = replace(bundle, manifest={**bundle.manifest, "mixture": {"collaborative": 1.0, "popularity": 1.0}})
    scorer = Scorer(plain)
    gains = np.zeros((len(COLLABORATIVE), len(POPULARITY)))
    units = {"collaborative": 1.0, "popularity": 1.0}
    for start in range(0, len(validation.states), BATCH):
        states = validation.states[start : start + BATCH]
        targets = validation.targets[start : start + BATCH]
        parts = scorer.score(states).parts
        model = parts["long"] + parts["short"]
        if start == 0:
            units = {name: deviation_ratio(model, parts[name]) for name in units}
        for i, j in product(range(len(COLLABORATIVE)), range(len(POPULARITY))):
            scores = (
                model
                + COLLABORATIVE[i] * units["collaborative"] * parts["collaborative"]
                + POPULARITY[j] * units["popularity"] * parts["popularity"]
            )
            gains[i, j] += ndcg_sum(scores, states, targets)
    best = np.unravel_index(gains.argmax(), gains.shape)
    return {
        "collaborative": float(COLLABORATIVE[best[0]] * units["collaborative"]),
        "popularity": float(POPULARITY[best[1]] * units["popularity"]),
    }


def deviation_ratio(model: np.ndarray, part: np.ndarray) -> float:
    """Deviation of the model's scores over that of a part, within users; 1 where the part is constant."""
    spread = part.std(axis=1).mean()
    return float(model.std(axis=1).mean() / spread) if spread > 0 else 1.0


def ndcg_sum(scores: np.ndarray, states: list[UserState], targets: np.ndarray) -> float:
    """Sum of NDCG@10 over users, seen items left out of the ranking."""
    wanted = scores[np.arange(len(targets)), targets]
    above = scores > wanted[:, None]
    for row, state in enumerate(states):
        above[row, state.items] = False
    ranks = 1 + above.sum(axis=1)
    return float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).sum())
