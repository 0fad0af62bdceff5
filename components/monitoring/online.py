"""Online metrics of each variant, from served lists and the feedback on them.

An event is feedback on a served item if it names the request (request_id) and the item. It is positive if the settings
give it a positive signal (weight and sign, `components.histories.signals`).

| metric | definition |
| --- | --- |
| ctr@k | share of the lists with a positive event on one of their first k items |
| positive_rate | positive events per served item |
| mrr@k | mean over the lists of 1 / rank of the first item with a positive event, 0 if none is among the first k |
| mean_rank | mean rank of the items with a positive event |
| rating | mean value of ratings and reviews |
| liked | share of likes in likes, dislikes and hides |
| dwell_seconds | mean value of the views that have one |
| ips, snips, ess | off-policy estimates of positive_rate without exploration, see `_off_policy` |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.columns import Columns
from components.evaluation.bootstrap import Interval, bounds, weights
from components.histories.signals import RATED, signals
from components.settings import EventSettings
from components.store.analytics import GREEDY, PROPENSITY
from components.store.variants import CHAMPION

LEVEL = 0.95
_KEY = [Columns.REQUEST, Columns.ITEM]
_POSITIVE, _REWARD, _BEST = "positive", "reward", "best"


class Term(NamedTuple):
    """The users and contributions of n rows to a metric's numerator and denominator; each array (n,)."""

    users: NDArray[np.str_]
    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]


class Ratio(NamedTuple):
    """A metric, NaN where its denominator is zero, and its values (resamples,) for bootstrap resamples of users."""

    value: float
    drawn: NDArray[np.float64]

    @property
    def interval(self) -> Interval:
        return bounds(self.value, self.drawn, LEVEL)

    def minus(self, other: "Ratio") -> Interval:
        """The difference of two independent samples, with bounds from the differences of their resamples."""
        return bounds(self.value - other.value, self.drawn - other.drawn, LEVEL)


def ratios(terms: Mapping[str, Term], users: NDArray[np.str_], resamples: int, seed: int) -> dict[str, Ratio]:
    """Computes the ratio of each term by a bootstrap over users, with the same resamples for all terms.

    A metric that fewer than two users contribute to has no bounds: its resamples are NaN.

    Args:
        users: (n,) ids, including all users of the terms.
    """
    names = np.unique(users)
    count = len(names)
    numerators, denominators = np.zeros((count, len(terms))), np.zeros((count, len(terms)))
    for column, term in enumerate(terms.values()):
        codes = np.searchsorted(names, term.users)
        numerators[:, column] = np.bincount(codes, term.numerator, count)
        denominators[:, column] = np.bincount(codes, term.denominator, count)
    with np.errstate(invalid="ignore"):
        values = numerators.sum(axis=0) / denominators.sum(axis=0)
        drawn = np.concatenate(
            [(weight @ numerators) / (weight @ denominators) for weight in weights(count, resamples, seed)]
        )
    drawn[:, (denominators > 0).sum(axis=0) < 2] = np.nan
    return {name: Ratio(float(value), draws) for name, value, draws in zip(terms, values, drawn.T, strict=True)}


class Estimate(NamedTuple):
    """A metric and its 95 % bounds; None where it or its variance cannot be measured."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Variant:
    """Metrics of a variant.

    Attributes:
        model_version: The versions that served as this variant in the window, oldest first, joined by commas.
        impressions: Served lists.
        against_champion: Differences to the champion, of the metrics that can be compared.
    """

    name: str
    model_version: str
    impressions: int
    users: int
    figures: dict[str, Estimate]
    against_champion: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class VariantComparison:
    """The comparison of variants.

    Attributes:
        variants: The champion first.
        unmatched: Number of events that name no item served in the window.
    """

    variants: list[Variant]
    unmatched: int


def compare(
    exposures: pd.DataFrame, feedback: pd.DataFrame, events: EventSettings, *, k: int, resamples: int, seed: int = 0
) -> VariantComparison:
    """Compares the variants of a window.

    The bounds are by bootstrap over users. The users of a variant and of the champion are independent samples.

    Args:
        exposures: Served items, as `read_exposures` of `components.store.analytics` gives them, by rank.
        feedback: Events, as `read_feedback` gives them.
        k: Cutoff of ctr@k and mrr@k.
        resamples: Bootstrap resamples.
    """
    served = exposures[exposures[Columns.ITEM].notna()]
    matched = served.merge(feedback, on=_KEY)
    matched[_POSITIVE] = signals(matched, events) > 0
    variants: list[Variant] = []
    champion: dict[str, Ratio] | None = None
    for index, name in enumerate(_champion_first(exposures[Columns.VARIANT].unique())):
        exposures_of_variant = exposures[exposures[Columns.VARIANT] == name]
        users = exposures_of_variant[Columns.USER].to_numpy(dtype=str)
        feedback_of_variant = matched[matched[Columns.VARIANT] == name]
        terms = _terms(exposures_of_variant, feedback_of_variant, k)
        measured = ratios(terms, users, resamples, seed + index)
        variants.append(
            Variant(
                name=name,
                model_version=", ".join(exposures_of_variant[Columns.MODEL_VERSION].unique()),
                impressions=exposures_of_variant[Columns.REQUEST].nunique(),
                users=len(np.unique(users)),
                figures={metric: _estimate(ratio.interval) for metric, ratio in measured.items()}
                | {"ess": _ess(terms)},
                against_champion=_differences(measured, champion) if champion else {},
            )
        )
        if name == CHAMPION:
            champion = measured
    return VariantComparison(variants, len(feedback) - len(matched))


def _champion_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != CHAMPION, name))


def _terms(exposures: pd.DataFrame, answered: pd.DataFrame, k: int) -> dict[str, Term]:
    """The terms of all metrics of one variant; a metric without events has no rows."""
    positive = answered[answered[_POSITIVE]]
    best = positive[positive[Columns.RANK] <= k].groupby(Columns.REQUEST)[Columns.RANK].min()
    answers = exposures.drop_duplicates(Columns.REQUEST)
    answers = answers.assign(**{_BEST: answers[Columns.REQUEST].map(best).astype("float64")})
    rewards = positive.groupby(_KEY).size().rename(_REWARD)
    served = exposures[exposures[Columns.ITEM].notna()].join(rewards, on=_KEY).fillna({_REWARD: 0.0})
    rewarded = served[served[_REWARD] > 0]
    kinds, valued = answered[Columns.EVENT], answered[Columns.VALUE].notna()
    rated, likes_and_dislikes = answered[kinds.isin(RATED) & valued], answered[kinds.isin(("like", "dislike", "hide"))]
    views = answered[(kinds == "view") & valued]
    return {
        f"ctr@{k}": _term(answers, answers[_BEST].notna()),
        "positive_rate": _term(served, served[_REWARD]),
        f"mrr@{k}": _term(answers, (1.0 / answers[_BEST]).fillna(0.0)),
        "mean_rank": _term(rewarded, rewarded[Columns.RANK]),
        "rating": _term(rated, rated[Columns.VALUE]),
        "liked": _term(likes_and_dislikes, likes_and_dislikes[Columns.EVENT] == "like"),
        "dwell_seconds": _term(views, views[Columns.VALUE]),
        **_off_policy(served),
    }


def _off_policy(served: pd.DataFrame) -> dict[str, Term]:
    """Off-policy terms: positive_rate of the same lists without exploration, with the greedy item at every rank.

    If a rank and all ranks above it hold their greedy items, its weight w is the product of 1 / propensity over them,
    else 0: the weight of a sequence (Precup, Sutton, Singh 2000), for lists called RIPS (McInerney et al. 2020). It is
    unbiased if an item's reward may depend on the items above it, but not on those below. Over the n served items with
    r positive events each, IPS = sum(w r) / n (Horvitz, Thompson 1952) and, self-normalised, SNIPS = sum(w r) / sum(w)
    (Swaminathan, Joachims 2015).

    There are no rows if every propensity is 1, that is without exploration. Lists with a propensity outside (0, 1] are
    ignored.
    """
    if not (served[PROPENSITY] < 1).any():
        served = served[:0]
    valid = served[PROPENSITY].gt(0) & served[PROPENSITY].le(1)
    usable = served[valid.groupby(served[Columns.REQUEST].to_numpy()).transform("all")]
    inverse_propensity = usable[GREEDY].astype(bool) / usable[PROPENSITY]
    weights = inverse_propensity.groupby(usable[Columns.REQUEST].to_numpy()).cumprod()
    weighted_rewards = weights * usable[_REWARD]
    return {"ips": _term(usable, weighted_rewards), "snips": _term(usable, weighted_rewards, weights)}


def _ess(terms: dict[str, Term]) -> Estimate:
    """Effective sample size sum(w)^2 / sum(w^2) (Kish 1965), in items served without exploration."""
    weights = terms["snips"].denominator
    return Estimate(float(weights.sum() ** 2 / (weights**2).sum())) if len(weights) else Estimate()


def _term(rows: pd.DataFrame, numerator: pd.Series, denominator: pd.Series | None = None) -> Term:
    """Builds a term; without a denominator it is a mean over the rows."""
    denominators = np.ones(len(rows)) if denominator is None else denominator.to_numpy(dtype=np.float64)
    return Term(rows[Columns.USER].to_numpy(dtype=str), numerator.to_numpy(dtype=np.float64), denominators)


def _differences(variant: dict[str, Ratio], champion: dict[str, Ratio]) -> dict[str, Estimate]:
    return {metric: _estimate(ratio.minus(champion[metric])) for metric, ratio in variant.items()}


def _estimate(measured: Interval) -> Estimate:
    return Estimate(*(None if np.isnan(value) else value for value in measured))
