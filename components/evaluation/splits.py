"""Evaluation splits: leave-one-out, temporal and rolling.

`loo` and `temporal` sort the events by time, ties in file order:

    loo       the last event of each user with at least three is the target, all other events are training
    temporal  events at or before the 0.9 quantile of all times are training; the target of a training user is the
              first later event on an item new to that user

`rolling` mirrors the service: training ends before the cut, and each later event on an item new to its user is
predicted from everything before it.

Targets are frames of `user_id`, `item_id`, `time` (epoch seconds) and `position` (row in the events sorted by time).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.columns import Columns as C
from components.core.errors import DuotempoError
from components.core.timestamps import epoch_seconds

Kind = Literal["loo", "temporal"]
TIME = "time"
POSITION = "position"
SIGNAL = "signal"
LOO_EVENTS = 3
TEMPORAL_QUANTILE = 0.9
RESOLUTION = 1e-6  # seconds; the database keeps microseconds
_REQUIREMENTS = {
    "loo": f"a user with at least {LOO_EVENTS} events",
    "temporal": f"a user with events on both sides of the {TEMPORAL_QUANTILE} quantile of all times, "
    "a later one of an item that is new to the user",
}


class EvaluationError(DuotempoError):
    """The events cannot be split or evaluated as requested; the message has the cause and the fix."""


@dataclass(frozen=True)
class Split:
    """A split whose training side is fixed for all targets (`loo`, `temporal`).

    Attributes:
        train: Training events sorted by time; the index is the position among all sorted events.
        targets: See the module.
        cut: Epoch seconds just after the last training event (exclusive).
    """

    train: pd.DataFrame
    targets: pd.DataFrame
    kind: Kind
    cut: float

    def histories(self) -> list[NDArray[np.int64]]:
        """For each target the positions in `train` of its user's events, oldest first."""
        ends = np.full(len(self.targets), np.inf)
        return _events_before(self.train[C.USER], event_seconds(self.train), self.targets[C.USER], ends)


@dataclass(frozen=True)
class Rolling:
    """A split whose training ends at the cut, while the histories of later targets keep growing.

    Attributes:
        events: All events sorted by time, numbered from 0.
        train: The events with time < cut.
        targets: See the module.
        cut: Epoch seconds, exclusive.
    """

    events: pd.DataFrame
    train: pd.DataFrame
    targets: pd.DataFrame
    cut: float

    def histories(self) -> list[NDArray[np.int64]]:
        """For each target the positions in `events` of its user's strictly earlier events, oldest first."""
        times = self.targets[TIME].to_numpy()
        return _events_before(self.events[C.USER], event_seconds(self.events), self.targets[C.USER], times)


def event_seconds(events: pd.DataFrame) -> NDArray[np.float64]:
    """Times of the events in epoch seconds, from the column `timestamp` or else `occurred_at`.

    Raises:
        EvaluationError: Both columns are missing, or a time is.
    """
    column = next((name for name in (C.TIMESTAMP, C.OCCURRED_AT) if name in events.columns), None)
    if column is None:
        raise EvaluationError(
            f"events have neither {C.TIMESTAMP!r} nor {C.OCCURRED_AT!r}: name the column of their time"
        )
    if missing := int(events[column].isna().sum()):
        raise EvaluationError(f"{missing} events have no {column!r}: remove them or give them a time")
    return epoch_seconds(events[column])


def split(interactions: pd.DataFrame, kind: Kind) -> Split:
    """Splits events by `loo` or `temporal`, see the module.

    Args:
        interactions: DataFrame with user_id, item_id and a time column.

    Raises:
        EvaluationError: No event qualifies as a target.
    """
    events, times = _sorted(interactions)
    held_out = _last_of_each_user(events) if kind == "loo" else _first_new_after_quantile(events, times)
    if not held_out.any():
        raise EvaluationError(
            f"the {kind} split of {len(events)} events leaves no target: it needs {_REQUIREMENTS[kind]}"
        )
    training = ~held_out if kind == "loo" else times <= _quantile(times, TEMPORAL_QUANTILE)
    cut = float(times[training].max()) + RESOLUTION
    return Split(events[training], _targets(events, times, np.flatnonzero(held_out)), kind, cut)


def rolling(events: pd.DataFrame, quantile: float, sample: int, seed: int) -> Rolling:
    """Splits events at a quantile of their times, see the module.

    A target's item is new to its user; if events have a `signal`, the target's is positive.

    Args:
        quantile: Of all times; the cut is the event time at or below it.
        sample: Maximum number of targets; more are sampled at random.
        seed: Of the sample.

    Raises:
        EvaluationError: There are no training events or no targets.
    """
    ordered, times = _sorted(events)
    cut = _quantile(times, quantile)
    training = times < cut
    if not training.any():
        raise EvaluationError(
            f"no event lies before the cut, the {quantile} quantile of the times of {len(ordered)} events: "
            "rolling needs events at more than one time"
        )
    is_target = ~training & ~ordered.duplicated([C.USER, C.ITEM]).to_numpy()
    if SIGNAL in ordered.columns:
        is_target &= ordered[SIGNAL].to_numpy() > 0
    positions = np.flatnonzero(is_target)
    if not len(positions):
        raise EvaluationError(
            f"none of the {int((~training).sum())} events from the cut on is a target: rolling needs a positive event "
            "of an item that is new to its user; a lower evaluation.cut_quantile leaves more events behind the cut"
        )
    if len(positions) > sample:
        positions = np.sort(np.random.default_rng(seed).choice(positions, sample, replace=False))
    return Rolling(ordered, ordered[training], _targets(ordered, times, positions), cut)


def _sorted(events: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    if events.empty:
        raise EvaluationError("there are no events to split: ingest or name a dataset that has some")
    times = event_seconds(events)
    order = np.argsort(times, kind="stable")
    return events.iloc[order].reset_index(drop=True), times[order]


def _quantile(times: NDArray[np.float64], quantile: float) -> float:
    return float(np.quantile(times, quantile, method="lower"))


def _last_of_each_user(events: pd.DataFrame) -> NDArray[np.bool_]:
    enough = events.groupby(C.USER)[C.ITEM].transform("size") >= LOO_EVENTS
    return (enough & ~events.duplicated(C.USER, keep="last")).to_numpy()


def _first_new_after_quantile(events: pd.DataFrame, times: NDArray[np.float64]) -> NDArray[np.bool_]:
    training = times <= _quantile(times, TEMPORAL_QUANTILE)
    train = events[training]
    seen = pd.MultiIndex.from_frame(train[[C.USER, C.ITEM]])
    later = events[~training & events[C.USER].isin(train[C.USER]).to_numpy()]
    new = later[~pd.MultiIndex.from_frame(later[[C.USER, C.ITEM]]).isin(seen)]
    return events.index.isin(new.index[~new.duplicated(C.USER)])


def _targets(events: pd.DataFrame, times: NDArray[np.float64], positions: NDArray[np.int64]) -> pd.DataFrame:
    targets = events.loc[positions, [C.USER, C.ITEM]].reset_index(drop=True)
    return targets.assign(**{TIME: times[positions], POSITION: positions})


def _events_before(
    users: pd.Series, times: NDArray[np.float64], target_users: pd.Series, ends: Iterable[float]
) -> list[NDArray[np.int64]]:
    codes, user_ids = pd.factorize(users)
    by_user = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_user], np.arange(len(user_ids) + 1))
    histories = []
    for user, end in zip(pd.Index(user_ids).get_indexer(pd.Index(target_users)), ends, strict=True):
        user_events = by_user[starts[user] : starts[user + 1]] if user >= 0 else by_user[:0]
        histories.append(user_events[: np.searchsorted(times[user_events], end, side="left")])
    return histories
