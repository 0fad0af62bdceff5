"""How much the collaborative part and the popularity priors add to the fused interest in the hybrid strategy."""

import logging
from dataclasses import replace

import numpy as np

from components.bundle import Bundle
from components.fusion.holdout import Validation, gain
from components.ranking.scorer import Scorer, popularity_prior
from components.ranking.states import UserState

CANDIDATES = {
    "collaborative": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "recent": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
    "popularity": (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
}
"""Weights that are tried, as multiples of the ratio of the deviations, so that they mean the same for every model."""
PRIORS = ("recent", "popularity")
UNKNOWN_POPULARITY = 0.02
"""Weight of popularity where nothing could be held out."""
NO_MIXTURE = dict.fromkeys(CANDIDATES, 0.0)
ROUNDS = 2
BATCH = 256
ROOM = 40_000_000
"""Scores that are held at once: of a large catalogue fewer users are asked."""

log = logging.getLogger(__name__)


def choose_mixture(bundle: Bundle, validation: Validation) -> dict[str, float]:
    """The weights of the collaborative part and of popularity, of all time and of the last days, that rank the held-out
    targets best, found one after the other; of the priors the smallest that rank about as well.

    bundle: none of its parts may know the held-out events. What was popular in the days before the cut says nothing of
    targets that lie all over the time: then its weight stays zero.
    """
    if not validation.states:
        log.warning("no event could be held out: popularity is all that the hybrid adds")
        return NO_MIXTURE | {"popularity": UNKNOWN_POPULARITY}
    count = max(1, ROOM // bundle.items.num_rows)
    sample = np.linspace(0, len(validation.states) - 1, min(count, len(validation.states))).astype(int)
    states, targets = [validation.states[row] for row in sample], validation.targets[sample]
    model, parts = score_parts(bundle, states)
    units = {name: deviation_ratio(model, part) for name, part in parts.items()}
    chosen = dict(NO_MIXTURE)
    names = [name for name in CANDIDATES if validation.recent or name != "recent"]
    for name in names * ROUNDS:
        rest = model + sum(chosen[other] * units[other] * parts[other] for other in parts if other != name)
        candidates = CANDIDATES[name]
        gains = [gains_of(rest + weight * units[name] * parts[name], states, targets) for weight in candidates]
        chosen[name] = candidates[smallest_good(gains) if name in PRIORS else int(np.argmax(np.mean(gains, axis=1)))]
    return {name: float(weight * units[name]) for name, weight in chosen.items()}


def score_parts(bundle: Bundle, states: list[UserState]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The fused interest's scores, float32 (users, items), and each part unweighted, (users or 1, items)."""
    plain = replace(bundle, manifest={**bundle.manifest, "mixture": dict.fromkeys(CANDIDATES, 1.0)})
    scorer = Scorer(plain)
    batches = [scorer.score(states[start : start + BATCH]).parts for start in range(0, len(states), BATCH)]
    model = np.concatenate([parts["long"] + parts["short"] for parts in batches])
    priors = {name: dict.fromkeys(PRIORS, 0.0) | {name: 1.0} for name in PRIORS}
    return model, {
        "collaborative": np.concatenate([parts["collaborative"] for parts in batches]),
        **{name: popularity_prior(bundle, weights)[None] for name, weights in priors.items()},
    }


def deviation_ratio(model: np.ndarray, part: np.ndarray) -> float:
    """Deviation of the model's scores over that of a part, within users; 1 where the part is constant."""
    spread = part.std(axis=1).mean()
    return float(model.std(axis=1).mean() / spread) if spread > 0 else 1.0


def gains_of(scores: np.ndarray, states: list[UserState], targets: np.ndarray) -> np.ndarray:
    """Gain of each target's rank, (V,), seen items left out of the ranking."""
    wanted = scores[np.arange(len(targets)), targets]
    above = scores > wanted[:, None]
    for row, state in enumerate(states):
        above[row, state.items] = False
    return gain(1 + above.sum(axis=1))


def smallest_good(gains: list[np.ndarray]) -> int:
    """The first candidate whose mean gain is at most one standard error of the difference below the best one.

    The one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees: what more popularity wins
    by noise is not worth the part of the catalogue that it takes from the lists.
    """
    best = max(gains, key=lambda candidate: float(candidate.mean()))
    losses = [best - candidate for candidate in gains]
    errors = [loss.std() / np.sqrt(len(loss)) for loss in losses]
    good = [loss.mean() <= error for loss, error in zip(losses, errors, strict=True)]
    return good.index(True)
