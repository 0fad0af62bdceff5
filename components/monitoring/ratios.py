"""Ratios of sums over people, with intervals by the bootstrap over users: what every online metric is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from components.evaluation.bootstrap import Interval, bounds, weights

LEVEL = 0.95


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
