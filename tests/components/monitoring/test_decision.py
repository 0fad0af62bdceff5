"""When a retraining starts early."""

from dataclasses import replace
from datetime import timedelta

import pytest

from components.monitoring.canary import Trainings, decide
from components.monitoring.drift import Drift
from components.settings import MonitoringSettings
from tests.support.observed import NOW

OLD = Trainings(cut=NOW - timedelta(days=9), new_events=10, running=False, last_start=NOW - timedelta(days=9))
MUCH, LITTLE = [Drift("events", 0.3, "much drift")], [Drift("events", 0.2, "some drift")]


def decided(drifts: list[Drift], trained: Trainings) -> tuple[bool, str]:
    decision = decide(drifts, trained, NOW, MonitoringSettings())
    return decision.retrain, decision.reason


def test_much_drift_starts_one() -> None:
    assert decided(MUCH, OLD) == (True, "drift above 0.25: events 0.300")


def test_little_drift_starts_none() -> None:
    assert decided(LITTLE, OLD) == (False, "no drift above the limit, 10 new events")


def test_many_new_events_start_one() -> None:
    assert decided(LITTLE, replace(OLD, new_events=10_000))[0]
    assert not decided(LITTLE, replace(OLD, new_events=9_999))[0]


@pytest.mark.parametrize("one", [Drift("hours", 9.0, ""), Drift("texts", 0.9, ""), Drift("events", None, "too few")])
def test_what_no_training_follows_starts_none(one: Drift) -> None:
    assert not decided([one], OLD)[0]


def test_a_drift_that_was_learnt_starts_none() -> None:
    learnt = replace(OLD, cut=NOW - timedelta(days=3))
    retrain, reason = decided(MUCH, learnt)
    assert not retrain and "has learnt the drift of events 0.300" in reason
    assert decided(MUCH, replace(OLD, cut=NOW - timedelta(days=4)))[0]
    assert decided(MUCH, replace(learnt, new_events=10_000))[0]


def test_without_a_version_none_starts() -> None:
    retrain, reason = decided(MUCH, Trainings(None, 0, False, None))
    assert not retrain and "duotempo retrain" in reason


def test_beside_a_running_one_none_starts() -> None:
    retrain, reason = decided(MUCH, replace(OLD, running=True))
    assert not retrain and "is running" in reason


def test_soon_after_a_start_none_starts() -> None:
    retrain, reason = decided(MUCH, replace(OLD, last_start=NOW - timedelta(hours=11)))
    assert not retrain and "2024-05-31 13:00" in reason
    assert decided(MUCH, replace(OLD, last_start=NOW - timedelta(hours=13)))[0]
    assert decided(MUCH, replace(OLD, last_start=None))[0]
