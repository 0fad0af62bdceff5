"""Whether a retraining starts before it is due: when much has changed, or much is new."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.monitoring.drift import Drift
from components.settings import MonitoringSettings

LEARNT = ("events", "categories", "popularity", "scores")
"""The features whose drift another training can follow. What hour it is enters no model; texts have no reading."""


@dataclass(frozen=True)
class Trainings:
    """What was trained: the cut of the newest version's snapshot (None without a version), the events that this
    snapshot does not hold, whether a retraining is running or waits for a worker, and when the last one started."""

    cut: datetime | None
    new_events: int
    running: bool
    last_start: datetime | None


@dataclass(frozen=True)
class Decision:
    """Whether a retraining starts now, and why or why not."""

    retrain: bool
    reason: str


def decide(drifts: Sequence[Drift], trained: Trainings, now: datetime, settings: MonitoringSettings) -> Decision:
    """The decision as of `now`.

    A drift that the newest version has learnt starts nothing, else it would start a retraining at every look until the
    window has moved on: it counts as learnt when the snapshot holds more than half of the window.
    """
    if trained.cut is None:
        return Decision(False, "there is no version yet: duotempo retrain makes the first")
    causes = []
    moved = {one.feature: one.value for one in drifts if one.feature in LEARNT and one.value is not None}
    above = [f"{name} {value:.3f}" for name, value in moved.items() if value > settings.retrain_drift]
    learnt = trained.cut > now - timedelta(days=settings.window_days / 2)
    if above and not learnt:
        causes.append(f"drift above {settings.retrain_drift:g}: {', '.join(above)}")
    if trained.new_events >= settings.retrain_events:
        causes.append(f"{trained.new_events} events that the newest version does not know")
    if not causes:
        drifted = (
            f"the newest version has learnt the drift of {', '.join(above)}" if above else "no drift above the limit"
        )
        return Decision(False, f"{drifted}, {trained.new_events} new events")
    asked = "; ".join(causes)
    if trained.running:
        return Decision(False, f"{asked}; but a retraining is running")
    pause = timedelta(hours=settings.retrain_pause_hours)
    if trained.last_start is not None and trained.last_start > now - pause:
        return Decision(False, f"{asked}; but the last retraining started at {trained.last_start:%Y-%m-%d %H:%M} UTC")
    return Decision(True, asked)
