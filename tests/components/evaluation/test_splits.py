from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.evaluation.splits import EvaluationError, event_seconds, rolling, split

EVENT = st.tuples(
    st.sampled_from("uvwxy"), st.sampled_from("abcdefgh"), st.integers(0, 30), st.sampled_from([1.0, -1.0])
)
EVENTS = st.lists(EVENT, min_size=1, max_size=60)
Row = tuple[str, str, int, float]
"""User, item, time and signal."""


def frame(rows: Sequence[tuple[str, str, int | None, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "signal"])


def in_time(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row[2])


def pairs(events: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(events["user_id"], events["item_id"], strict=True))


@settings(deadline=None)
@given(EVENTS)
def test_loo_holds_out_the_last_event_of_users_with_three(rows: list[Row]) -> None:
    ordered = in_time(rows)
    of_user: dict[str, list[int]] = {}
    for place, row in enumerate(ordered):
        of_user.setdefault(row[0], []).append(place)
    held = sorted(places[-1] for places in of_user.values() if len(places) >= 3)
    if not held:
        with pytest.raises(EvaluationError, match="at least 3 events"):
            split(frame(rows), "loo")
        return
    result = split(frame(rows), "loo")
    assert pairs(result.targets) == [ordered[place][:2] for place in held]
    assert pairs(result.train) == [row[:2] for place, row in enumerate(ordered) if place not in held]
    assert result.targets["position"].tolist() == held


@settings(deadline=None)
@given(EVENTS)
def test_temporal_takes_the_first_later_event_of_a_new_item(rows: list[Row]) -> None:
    ordered = in_time(rows)
    quantile = ordered[int(np.floor(0.9 * (len(ordered) - 1)))][2]
    train = [row for row in ordered if row[2] <= quantile]
    seen, users = {row[:2] for row in train}, {row[0] for row in train}
    targets: dict[str, tuple[str, str]] = {}
    for row in ordered[len(train) :]:
        if row[0] in users and row[:2] not in seen:
            targets.setdefault(row[0], row[:2])
    if not targets:
        with pytest.raises(EvaluationError, match="both sides"):
            split(frame(rows), "temporal")
        return
    result = split(frame(rows), "temporal")
    assert pairs(result.targets) == list(targets.values())
    assert pairs(result.train) == [row[:2] for row in train]


@settings(deadline=None)
@given(EVENTS, st.sampled_from(["loo", "temporal"]))
def test_no_training_event_reaches_the_cut_and_histories_are_the_users_own(
    rows: list[Row], kind: Literal["loo", "temporal"]
) -> None:
    try:
        result = split(frame(rows), kind)
    except EvaluationError:
        assume(False)
    assert (event_seconds(result.train) < result.cut).all()
    for user, history in zip(result.targets["user_id"], result.histories(), strict=True):
        assert history.tolist() == np.flatnonzero(result.train["user_id"] == user).tolist()


@settings(deadline=None)
@given(EVENTS, st.floats(0.05, 0.95), st.integers(1, 20), st.integers(0, 3))
def test_rolling_keeps_the_cut_and_predicts_only_new_items(
    rows: list[Row], quantile: float, sample: int, seed: int
) -> None:
    try:
        result = rolling(frame(rows), quantile, sample, seed)
    except EvaluationError:
        assume(False)
    ordered = in_time(rows)
    assert (event_seconds(result.train) < result.cut).all()
    assert len(result.train) == sum(row[2] < result.cut for row in ordered)
    wanted = {
        place
        for place, row in enumerate(ordered)
        if row[2] >= result.cut and row[3] > 0 and row[:2] not in [before[:2] for before in ordered[:place]]
    }
    positions = result.targets["position"].tolist()
    assert len(positions) == min(sample, len(wanted))
    assert set(positions) <= wanted
    assert positions == sorted(positions)
    for (user, item), time, history in zip(
        pairs(result.targets), result.targets["time"], result.histories(), strict=True
    ):
        expected = [place for place, row in enumerate(ordered) if row[0] == user and row[2] < time]
        assert history.tolist() == expected
        assert item not in {ordered[place][1] for place in history}


@settings(deadline=None)
@given(EVENTS)
def test_the_order_of_rows_matters_only_within_ties(rows: list[Row]) -> None:
    distinct = list({row[2]: row for row in rows}.values())
    try:
        first = rolling(frame(distinct), 0.5, 100, 0)
    except EvaluationError:
        assume(False)
    second = rolling(frame(distinct[::-1]), 0.5, 100, 0)
    pd.testing.assert_frame_equal(first.targets, second.targets)
    pd.testing.assert_frame_equal(first.train, second.train)


def test_rolling_sample_depends_on_the_seed_alone() -> None:
    events = frame([("u", f"i{n}", n, 1.0) for n in range(1000)])
    draws = [rolling(events, 0.5, 50, seed).targets["position"].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_datetimes_split_as_epoch_seconds_do() -> None:
    rows = [(f"u{n % 7}", f"i{n % 37}", 1_600_000_000 + n * 3_600, 1.0) for n in range(200)]
    seconds = frame(rows)
    moments = pd.to_datetime(seconds["timestamp"], unit="s", utc=True).astype("datetime64[us, UTC]")
    datetimes = seconds.drop(columns="timestamp").assign(occurred_at=moments)
    assert event_seconds(datetimes).tolist() == seconds["timestamp"].tolist()
    first, second = rolling(seconds, 0.5, 30, 0), rolling(datetimes, 0.5, 30, 0)
    pd.testing.assert_frame_equal(first.targets, second.targets)
    assert first.cut == second.cut
    pd.testing.assert_frame_equal(split(seconds, "loo").targets, split(datetimes, "loo").targets)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (frame([]), "no events"),
        (frame([("u", "a", 5, 1.0), ("u", "b", 5, 1.0)]), "more than one time"),
        (frame([("u", "a", 1, 1.0), ("u", "a", 2, 1.0)]), "new to its user"),
        (frame([("u", "a", 1, 1.0), ("u", "b", 2, -1.0)]), "positive"),
        (frame([("u", "a", 1, 1.0), ("u", "b", None, 1.0)]), "1 events have no 'timestamp'"),
        (frame([("u", "a", 1, 1.0)]).drop(columns="timestamp"), "neither 'timestamp' nor 'occurred_at'"),
    ],
)
def test_events_that_cannot_be_split_say_what_they_need(events: pd.DataFrame, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        rolling(events, 1.0, 10, 0)
