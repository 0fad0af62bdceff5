"""What the answers of each variant brought, by the feedback that names them.

An event belongs to a shown item when it names the answer (request_id) and the item. It is positive when the settings
give it a positive signal (weight and sign, `components.histories.signals`).

| metric | is |
| --- | --- |
| ctr@k | share of the answers with a positive event on one of their first k items |
| positive_rate | positive events a shown item |
| mrr@k | mean over the answers of 1 / rank of the first item with a positive event, 0 where none is among the first k |
| mean_rank | mean rank of the items with a positive event |
| rating | mean value of ratings and reviews |
| liked | likes in likes, dislikes and hides |
| dwell_seconds | mean value of the views that bear one |
| ips, snips, ess | positive_rate had there been no exploration, see `_off_policy` |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from components.core.columns import Columns
from components.evaluation.bootstrap import Interval, bounds, weights
from components.histories.signals import RATED, signals
from components.settings import EventSettings
from components.store.observed import GREEDY, PROPENSITY
from components.store.variants import CHAMPION

LEVEL = 0.95
_KEY = [Columns.REQUEST, Columns.ITEM]
_POSITIVE, _REWARD, _BEST = "positive", "reward", "best"


class Term(NamedTuple):
    """What each of n rows adds to the numerator and to the denominator of a metric, and whose row it is; each (n,)."""

    users: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray


class Ratio(NamedTuple):
    """A metric, NaN where its denominator is zero, and the same of each resample of the users (resamples,)."""

    value: float
    drawn: np.ndarray

    @property
    def interval(self) -> Interval:
        return bounds(self.value, self.drawn, LEVEL)

    def minus(self, other: "Ratio") -> Interval:
        """The difference, with bounds from the differences of the draws: of two samples that are independent."""
        return bounds(self.value - other.value, self.drawn - other.drawn, LEVEL)


def ratios(terms: Mapping[str, Term], users: np.ndarray, resamples: int, seed: int) -> dict[str, Ratio]:
    """The ratio of each term, all from the same resamples of `users` (n,), who include all that the terms name.

    One person alone has no spread: a metric that fewer than two contribute to has draws of NaN, and so no bounds.
    """
    names = np.unique(users)
    count = len(names)
    tops, bottoms = np.zeros((count, len(terms))), np.zeros((count, len(terms)))
    for column, term in enumerate(terms.values()):
        codes = np.searchsorted(names, term.users)
        tops[:, column] = np.bincount(codes, term.numerator, count)
        bottoms[:, column] = np.bincount(codes, term.denominator, count)
    with np.errstate(invalid="ignore"):
        values = tops.sum(axis=0) / bottoms.sum(axis=0)
        drawn = np.concatenate([(w @ tops) / (w @ bottoms) for w in weights(count, resamples, seed)])
    drawn[:, (bottoms > 0).sum(axis=0) < 2] = np.nan
    return {name: Ratio(float(value), draws) for name, value, draws in zip(terms, values, drawn.T, strict=True)}


class Estimate(NamedTuple):
    """A metric and its 95 % bounds; None where it, or its spread, cannot be measured."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Variant:
    """The figures of a variant by metric, and those that can be compared minus the champion's.

    model_version: those that answered under this name in the window, the first one first, joined by a comma.
    """

    name: str
    model_version: str
    impressions: int
    users: int
    figures: dict[str, Estimate]
    against_champion: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Online:
    """The variants, the champion first. unmatched: events that name no shown item of the window's answers."""

    variants: list[Variant]
    unmatched: int


def compare(
    exposures: pd.DataFrame, feedback: pd.DataFrame, events: EventSettings, *, k: int, resamples: int, seed: int = 0
) -> Online:
    """Compares the variants of a window.

    exposures, feedback: as `components.store.observed` reads them, the items of an answer by rank. The bounds are by
    bootstrap over users; the users of a variant and those of the champion are resampled as independent samples, paired
    by nothing.
    """
    shown = exposures[exposures[Columns.ITEM].notna()]
    answered = shown.merge(feedback, on=_KEY)
    answered[_POSITIVE] = signals(answered, events) > 0
    variants: list[Variant] = []
    champion: dict[str, Ratio] | None = None
    for number, name in enumerate(_champion_first(exposures[Columns.VARIANT].unique())):
        own = exposures[exposures[Columns.VARIANT] == name]
        users = own[Columns.USER].to_numpy(dtype=str)
        told = answered[answered[Columns.VARIANT] == name]
        terms = _terms(own, told, k)
        measured = ratios(terms, users, resamples, seed + number)
        variants.append(
            Variant(
                name=name,
                model_version=", ".join(own[Columns.MODEL_VERSION].unique()),
                impressions=own[Columns.REQUEST].nunique(),
                users=len(np.unique(users)),
                figures={metric: _figure(ratio.interval) for metric, ratio in measured.items()} | {"ess": _ess(terms)},
                against_champion=_differences(measured, champion) if champion else {},
            )
        )
        if name == CHAMPION:
            champion = measured
    return Online(variants, len(feedback) - len(answered))


def _champion_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != CHAMPION, name))


def _terms(exposures: pd.DataFrame, answered: pd.DataFrame, k: int) -> dict[str, Term]:
    """The sums of all metrics of one variant; a metric that nothing was sent for has no rows."""
    positive = answered[answered[_POSITIVE]]
    best = positive[positive[Columns.RANK] <= k].groupby(Columns.REQUEST)[Columns.RANK].min()
    answers = exposures.drop_duplicates(Columns.REQUEST)
    answers = answers.assign(**{_BEST: answers[Columns.REQUEST].map(best).astype("float64")})
    rewards = positive.groupby(_KEY).size().rename(_REWARD)
    shown = exposures[exposures[Columns.ITEM].notna()].join(rewards, on=_KEY).fillna({_REWARD: 0.0})
    taken = shown[shown[_REWARD] > 0]
    kinds, valued = answered[Columns.EVENT], answered[Columns.VALUE].notna()
    rated, opinions = answered[kinds.isin(RATED) & valued], answered[kinds.isin(("like", "dislike", "hide"))]
    views = answered[(kinds == "view") & valued]
    return {
        f"ctr@{k}": _term(answers, answers[_BEST].notna()),
        "positive_rate": _term(shown, shown[_REWARD]),
        f"mrr@{k}": _term(answers, (1.0 / answers[_BEST]).fillna(0.0)),
        "mean_rank": _term(taken, taken[Columns.RANK]),
        "rating": _term(rated, rated[Columns.VALUE]),
        "liked": _term(opinions, opinions[Columns.EVENT] == "like"),
        "dwell_seconds": _term(views, views[Columns.VALUE]),
        **_off_policy(shown),
    }


def _off_policy(shown: pd.DataFrame) -> dict[str, Term]:
    """What the same answers would have brought without exploration, each place with the best of its candidates.

    A place counts if it and all above it hold what stands there without exploration, with the weight w = product of
    1 / propensity over them, else w = 0: the weight of a sequence (Precup, Sutton, Singh 2000), for a list called RIPS
    (McInerney et al. 2020). It is unbiased where what an item brings may depend on the items above it, but not on those
    below. Over the n shown items with r positive events each, IPS = sum(w r) / n (Horvitz, Thompson 1952) and,
    self-normalised, SNIPS = sum(w r) / sum(w) (Swaminathan, Joachims 2015).

    No rows where every propensity is 1: nothing was left to chance. An answer does not count where one of its
    propensities is not in (0, 1].
    """
    if not (shown[PROPENSITY] < 1).any():
        shown = shown[:0]
    known = shown[PROPENSITY].gt(0) & shown[PROPENSITY].le(1)
    usable = shown[known.groupby(shown[Columns.REQUEST].to_numpy()).transform("all")]
    kept = usable[GREEDY].astype(bool) / usable[PROPENSITY]
    weights = kept.groupby(usable[Columns.REQUEST].to_numpy()).cumprod()
    weighted = weights * usable[_REWARD]
    return {"ips": _term(usable, weighted), "snips": _term(usable, weighted, weights)}


def _ess(terms: dict[str, Term]) -> Estimate:
    """Effective sample size sum(w)^2 / sum(w^2) (Kish 1965): as many items shown without exploration tell as much."""
    weights = terms["snips"].denominator
    return Estimate(float(weights.sum() ** 2 / (weights**2).sum())) if len(weights) else Estimate()


def _term(rows: pd.DataFrame, numerator: pd.Series, denominator: pd.Series | None = None) -> Term:
    """A mean over rows where no denominator is told."""
    below = np.ones(len(rows)) if denominator is None else denominator.to_numpy(dtype=np.float64)
    return Term(rows[Columns.USER].to_numpy(dtype=str), numerator.to_numpy(dtype=np.float64), below)


def _differences(own: dict[str, Ratio], champion: dict[str, Ratio]) -> dict[str, Estimate]:
    return {metric: _figure(ratio.minus(champion[metric])) for metric, ratio in own.items()}


def _figure(measured: Interval) -> Estimate:
    return Estimate(*(None if np.isnan(value) else value for value in measured))
