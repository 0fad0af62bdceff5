"""The validation split of a training run, and the blending weights that are fitted on it."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.arrays.topk import top_k
from components.bundle.bundle import Bundle
from components.histories.sequences import Documents, Sequences
from components.histories.signals import PastTrend, Trend
from components.histories.states import UserState
from components.ranking.scorer import Scorer

HoldOut = Literal["last", "recent"]
HELD_OUT_SHARE = 0.02
MIN_USERS = 100
MAX_USERS = 2000
CANDIDATES = {
    "collaborative": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "recent": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
    "popularity": (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
}
"""Candidate weights, scaled by std(model) / std(part) to be comparable across models."""
FALLBACK_POPULARITY = 0.02
"""Weight of popularity where nothing could be held out."""
NO_BLENDING = dict.fromkeys(CANDIDATES, 0.0)
SEARCH_ROUNDS = 2
COVERAGE_PLACES = 10
"""Places of a list that count as the catalogue's coverage."""
BATCH_SIZE = 256
MAX_SCORES = 30_000_000
"""Scores of a part that are held at once: of a large catalogue fewer users are asked."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """Users whose next item is known but not learned. targets: int64 (V,) rows, one for each state; trend: what was
    wanted lately, as of any moment, by the events that are learned."""

    states: list[UserState]
    targets: NDArray[np.int64]
    trend: Trend | None = None


NO_VALIDATION = Validation([], np.empty(0, dtype=np.int64))


def gain(ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """1 / log2(rank + 1): NDCG with no cut-off, of ranks from 1.

    Every target counts, not only those of the first places: choices that are made by it are less noisy.
    """
    return 1 / np.log2(ranks + 1)


def hold_out(
    sequences: Sequences, n_items: int, documents: Documents, kind: HoldOut, seed: int
) -> tuple[Sequences, Validation]:
    """Takes a validation split off the histories; what is held out is masked as a target and as an input.

    `last`: the last event of a seeded sample of users. `recent`: the last events nearest to the cut, which is where the
    service will stand. SHARE of the events are held out, but of at least FEWEST_USERS and at most MOST_USERS users, as
    far as there are so many.
    """
    last = sequences.offsets[1:] - 1
    eligible = np.flatnonzero((np.diff(sequences.offsets) >= 3) & (sequences.signals[last] > 0))
    limit = int(np.clip(HELD_OUT_SHARE * len(sequences.items), MIN_USERS, MAX_USERS))
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


def choose_blending_weights(bundle: Bundle, validation: Validation) -> dict[str, float]:
    """The weights of the collaborative part and of popularity, of all time and of late, that rank the held-out targets
    best; of those that rank about as well, the ones whose lists hold most of the catalogue.

    bundle: none of its parts may know the held-out events.
    """
    if not validation.states:
        log.warning("no event could be held out: popularity is all that the hybrid adds")
        return NO_BLENDING | {"popularity": FALLBACK_POPULARITY}
    count = max(1, MAX_SCORES // bundle.items.num_rows)
    sample = np.linspace(0, len(validation.states) - 1, min(count, len(validation.states))).astype(int)
    sampled = replace(validation, states=[validation.states[row] for row in sample], targets=validation.targets[sample])
    search = BlendingSearch(sampled, *score_parts(bundle, sampled))
    return search.weights(search.broadest(search.best()))


def score_parts(bundle: Bundle, validation: Validation) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """The fused interest's scores, float32 (users, items), and each part unweighted, (users or 1, items)."""
    plain = replace(bundle, manifest={**bundle.manifest, "mixture": {**NO_BLENDING, "collaborative": 1.0}})
    scorer, states = Scorer(plain, validation.trend), validation.states
    batches = [scorer.score(states[start : start + BATCH_SIZE]).parts for start in range(0, len(states), BATCH_SIZE)]
    model = np.concatenate([parts["long"] + parts["short"] for parts in batches])
    collaborative = np.concatenate([parts["collaborative"] for parts in batches])
    return model, {"collaborative": collaborative, **scorer.priors(states)}


@dataclass(frozen=True)
class BlendingSearch:
    """What choices of the mixture are made by: held-out targets, the model's scores, and the parts that may be added.

    A choice names a candidate weight for each part. model: (V, n); parts: (V or 1, n) each.
    """

    validation: Validation
    model: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]

    def best(self) -> dict[str, float]:
        """The choice of the highest gain, its weights found one after the other."""
        chosen = dict(NO_BLENDING)
        for name in [*CANDIDATES] * SEARCH_ROUNDS:
            gains = {weight: self.gains(chosen | {name: weight}).mean() for weight in CANDIDATES[name]}
            chosen[name] = max(gains, key=lambda weight: float(gains[weight]))
        return chosen

    def broadest(self, best: dict[str, float]) -> dict[str, float]:
        """The choice whose lists hold most items, of those that lose at most one standard error against the `best`.

        The one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees: what is won by noise
        is not worth the part of the catalogue that it costs.
        """
        best_gains, chosen = self.gains(best), best
        for name in [*CANDIDATES] * SEARCH_ROUNDS:
            choices = [chosen | {name: weight} for weight in CANDIDATES[name]]
            acceptable = [choice for choice in choices if within_error(best_gains - self.gains(choice))]
            chosen = max([chosen, *acceptable], key=self.coverage)
        return chosen

    def gains(self, choice: dict[str, float]) -> NDArray[np.float64]:
        """Gain of each target's rank, (V,), seen items left out of the ranking."""
        scores, targets = self.scores(choice), self.validation.targets
        target_scores = scores[np.arange(len(targets)), targets]
        return gain(1 + (scores > target_scores[:, None]).sum(axis=1))

    def coverage(self, choice: dict[str, float]) -> int:
        """Distinct items in the first LIST places of all users."""
        return len(np.unique(top_k(self.scores(choice), COVERAGE_PLACES)))

    def scores(self, choice: dict[str, float]) -> NDArray[np.float32]:
        """Float32 (V, n), -inf for what a user has seen."""
        scores = self.model.copy()
        for name, weight in self.weights(choice).items():
            if weight:
                scores += np.float32(weight) * self.parts[name]
        for row, state in enumerate(self.validation.states):
            scores[row, state.items] = -np.inf
        return scores

    def weights(self, choice: dict[str, float]) -> dict[str, float]:
        """What a choice weighs in the score itself."""
        return {name: weight * self.scales[name] for name, weight in choice.items()}

    @cached_property
    def scales(self) -> dict[str, float]:
        """What a weight of 1 weighs in the score: the part then varies as much as the model."""
        return {name: deviation_ratio(self.model, part) for name, part in self.parts.items()}


def deviation_ratio(model: NDArray[np.float32], part: NDArray[np.float32]) -> float:
    """Deviation of the model's scores over that of a part, within users; 1 where the part is constant."""
    spread = part.std(axis=1).mean()
    return float(model.std(axis=1).mean() / spread) if spread > 0 else 1.0


def within_error(losses: NDArray[np.float64]) -> bool:
    """Whether losses (V,) are on average at most one standard error of their mean."""
    return bool(losses.mean() <= losses.std() / np.sqrt(len(losses)))
