"""When a retraining starts early."""

from dataclasses import replace
from datetime import timedelta

import pytest

from components.monitoring.canary import TrainingState, decide
from components.monitoring.drift import Drift
from components.settings import MonitoringSettings
from tests.support.impressions import NOW

OLD_TRAINING = TrainingState(
    cut=NOW - timedelta(days=9), new_events=10, running=False, last_start=NOW - timedelta(days=9)
)
HIGH_DRIFT, LOW_DRIFT = [Drift("events", 0.3, "much drift")], [Drift("events", 0.2, "some drift")]


def decide_at_now(drifts: list[Drift], trained: TrainingState) -> tuple[bool, str]:
    decision = decide(drifts, trained, NOW, MonitoringSettings())
    return decision.retrain, decision.reason


def test_high_drift_starts_a_retraining() -> None:
    assert decide_at_now(HIGH_DRIFT, OLD_TRAINING) == (True, "drift above 0.25: events 0.300")


def test_low_drift_starts_no_retraining() -> None:
    assert decide_at_now(LOW_DRIFT, OLD_TRAINING) == (False, "no drift above the limit, 10 new events")


def test_many_new_events_start_a_retraining() -> None:
    assert decide_at_now(LOW_DRIFT, replace(OLD_TRAINING, new_events=10_000))[0]
    assert not decide_at_now(LOW_DRIFT, replace(OLD_TRAINING, new_events=9_999))[0]


@pytest.mark.parametrize("drift", [Drift("hours", 9.0, ""), Drift("texts", 0.9, ""), Drift("events", None, "too few")])
def test_features_that_retraining_cannot_adapt_to_start_none(drift: Drift) -> None:
    assert not decide_at_now([drift], OLD_TRAINING)[0]


def test_drift_that_was_learned_starts_none() -> None:
    learned = replace(OLD_TRAINING, cut=NOW - timedelta(days=3))
    retrain, reason = decide_at_now(HIGH_DRIFT, learned)
    assert not retrain and "has learnt the drift of events 0.300" in reason
    assert decide_at_now(HIGH_DRIFT, replace(OLD_TRAINING, cut=NOW - timedelta(days=4)))[0]
    assert decide_at_now(HIGH_DRIFT, replace(learned, new_events=10_000))[0]


def test_without_a_version_no_retraining_starts() -> None:
    retrain, reason = decide_at_now(HIGH_DRIFT, TrainingState(None, 0, False, None))
    assert not retrain and "duotempo retrain" in reason


def test_no_second_retraining_starts_while_one_is_running() -> None:
    retrain, reason = decide_at_now(HIGH_DRIFT, replace(OLD_TRAINING, running=True))
    assert not retrain and "is running" in reason


def test_no_retraining_starts_during_the_pause() -> None:
    retrain, reason = decide_at_now(HIGH_DRIFT, replace(OLD_TRAINING, last_start=NOW - timedelta(hours=11)))
    assert not retrain and "2024-05-31 13:00" in reason
    assert decide_at_now(HIGH_DRIFT, replace(OLD_TRAINING, last_start=NOW - timedelta(hours=13)))[0]
    assert decide_at_now(HIGH_DRIFT, replace(OLD_TRAINING, last_start=None))[0]
