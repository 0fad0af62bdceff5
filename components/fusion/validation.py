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
"""How the validation split is drawn, see `hold_out`."""
HELD_OUT_SHARE = 0.02
"""Share of all events in the validation split, one per user, bounded by MIN_USERS and MAX_USERS."""
MIN_USERS = 100
MAX_USERS = 2000
CANDIDATES = {
    "collaborative": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "recent": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
    "popularity": (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
}
"""Candidate weights, scaled by std(model) / std(part) to be comparable across models."""
FALLBACK_POPULARITY = 0.02
"""Weight of popularity where there is no validation split."""
NO_BLENDING = dict.fromkeys(CANDIDATES, 0.0)
SEARCH_ROUNDS = 2
"""Passes of the coordinate search over all weights."""
COVERAGE_PLACES = 10
"""Length of the lists whose distinct items count as coverage."""
BATCH_SIZE = 256
MAX_SCORES = 30_000_000
"""Maximum scores per part held in memory; a large catalogue is searched on fewer users."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """The validation split: users whose next item is held out of the training.

    Attributes:
        states: The users just before the held-out event.
        targets: Held-out item row of each state (users,).
        trend: The trend of the training events.
    """

    states: list[UserState]
    targets: NDArray[np.int64]
    trend: Trend | None = None


NO_VALIDATION = Validation([], np.empty(0, dtype=np.int64))


def gain(ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """1 / log2(rank + 1) of ranks from 1: NDCG without a cut-off.

    Every target contributes, not only those in the top k, so model selection is less noisy.
    """
    return 1 / np.log2(ranks + 1)


def hold_out(
    sequences: Sequences, n_items: int, documents: Documents, kind: HoldOut, seed: int
) -> tuple[Sequences, Validation]:
    """Splits off a validation split of last events, masked in the returned sequences as targets and as inputs.

    The split has HELD_OUT_SHARE of the events, but at least MIN_USERS and at most MAX_USERS, as far as enough users
    have three events.

    Args:
        kind: `last`: the last event of a random sample of users. `recent`: the last events closest to the cut, as the
            service will see them.
        seed: Of the sample.
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
    """Chooses the weights of the collaborative part and of popularity (all-time and recent) on the validation split.

    Maximises the mean gain of the targets; among weights within one standard error of the best, maximises the
    coverage of the catalogue.

    Args:
        bundle: Must not contain the held-out events in any part.
    """
    if not validation.states:
        log.warning("no validation split, too few events: the hybrid adds popularity alone to the model")
        return NO_BLENDING | {"popularity": FALLBACK_POPULARITY}
    count = max(1, MAX_SCORES // bundle.items.num_rows)
    sample = np.linspace(0, len(validation.states) - 1, min(count, len(validation.states))).astype(int)
    sampled = replace(validation, states=[validation.states[row] for row in sample], targets=validation.targets[sample])
    search = BlendingSearch(sampled, *score_parts(bundle, sampled))
    return search.weights(search.broadest(search.best()))


def score_parts(bundle: Bundle, validation: Validation) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Scores of the fused interest (users, items), and the unweighted scores of each part (users or 1, items)."""
    plain = replace(bundle, manifest={**bundle.manifest, "mixture": {**NO_BLENDING, "collaborative": 1.0}})
    scorer, states = Scorer(plain, validation.trend), validation.states
    batches = [scorer.score(states[start : start + BATCH_SIZE]).parts for start in range(0, len(states), BATCH_SIZE)]
    model = np.concatenate([parts["long"] + parts["short"] for parts in batches])
    collaborative = np.concatenate([parts["collaborative"] for parts in batches])
    return model, {"collaborative": collaborative, **scorer.priors(states)}


@dataclass(frozen=True)
class BlendingSearch:
    """Coordinate search over the blending weights.

    A choice maps each part to one of its candidate weights.

    Attributes:
        validation: Held-out targets.
        model: Scores of the fused interest (users, items).
        parts: Unweighted scores of each part (users or 1, items).
    """

    validation: Validation
    model: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]

    def best(self) -> dict[str, float]:
        """The choice with the highest mean gain, by coordinate search."""
        chosen = dict(NO_BLENDING)
        for name in [*CANDIDATES] * SEARCH_ROUNDS:
            gains = {weight: self.gains(chosen | {name: weight}).mean() for weight in CANDIDATES[name]}
            chosen[name] = max(gains, key=lambda weight: float(gains[weight]))
        return chosen

    def broadest(self, best: dict[str, float]) -> dict[str, float]:
        """The choice with the largest coverage among those within one standard error of `best`.

        The one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees: a gain within the
        noise is not worth the coverage that it costs.
        """
        best_gains, chosen = self.gains(best), best
        for name in [*CANDIDATES] * SEARCH_ROUNDS:
            choices = [chosen | {name: weight} for weight in CANDIDATES[name]]
            acceptable = [choice for choice in choices if within_error(best_gains - self.gains(choice))]
            chosen = max([chosen, *acceptable], key=self.coverage)
        return chosen

    def gains(self, choice: dict[str, float]) -> NDArray[np.float64]:
        """Gain of each target's rank among unseen items (users,)."""
        scores, targets = self.scores(choice), self.validation.targets
        target_scores = scores[np.arange(len(targets)), targets]
        return gain(1 + (scores > target_scores[:, None]).sum(axis=1))

    def coverage(self, choice: dict[str, float]) -> int:
        """Distinct items in all users' lists of length COVERAGE_PLACES."""
        return len(np.unique(top_k(self.scores(choice), COVERAGE_PLACES)))

    def scores(self, choice: dict[str, float]) -> NDArray[np.float32]:
        """Blended scores (users, items), -inf for seen items."""
        scores = self.model.copy()
        for name, weight in self.weights(choice).items():
            if weight:
                scores += np.float32(weight) * self.parts[name]
        for row, state in enumerate(self.validation.states):
            scores[row, state.items] = -np.inf
        return scores

    def weights(self, choice: dict[str, float]) -> dict[str, float]:
        """The weights of a choice in the score itself."""
        return {name: weight * self.scales[name] for name, weight in choice.items()}

    @cached_property
    def scales(self) -> dict[str, float]:
        """Scale of each part: a weight of 1 gives it the standard deviation of the model's scores."""
        return {name: deviation_ratio(self.model, part) for name, part in self.parts.items()}


def deviation_ratio(model: NDArray[np.float32], part: NDArray[np.float32]) -> float:
    """Mean within-user standard deviation of the model's scores over that of a part; 1 where the part is constant."""
    spread = part.std(axis=1).mean()
    return float(model.std(axis=1).mean() / spread) if spread > 0 else 1.0


def within_error(losses: NDArray[np.float64]) -> bool:
    """Whether the mean of the losses (users,) is at most its standard error."""
    return bool(losses.mean() <= losses.std() / np.sqrt(len(losses)))
