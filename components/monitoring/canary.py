"""Whether a canary does worse than the champion beside it, by errors, by latency, by what people told; and whether a
retraining starts before it is due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from components.monitoring.drift import Drift
from components.monitoring.online import CHAMPION, Online
from components.settings import DeploySettings, MonitoringSettings
from components.store.variants import CANARY

QUANTILE = 0.95
ENOUGH_ERRORS = 3
"""Failed answers from which on a canary need not run to its end."""
QUALITY_METRICS = ("positive_rate", "liked")
"""The metrics of `components.monitoring.online` that speak for a version."""
TRAINABLE_FEATURES = ("events", "categories", "popularity", "scores")
"""The features whose drift another training can follow. What hour it is enters no model; texts have no reading."""


@dataclass(frozen=True)
class Answered:
    """What a variant did in a span of time. seconds: answers by the upper bound of their time, cumulative."""

    good: float = 0.0
    failed: float = 0.0
    seconds: Mapping[float, float] = field(default_factory=dict)

    @property
    def all(self) -> float:
        return self.good + self.failed

    @property
    def error_rate(self) -> float:
        return self.failed / self.all if self.all else 0.0

    def __str__(self) -> str:
        return f"{self.all:.0f} answers, {self.failed:.0f} failed"


def errors_against(canary: Answered, champion: Answered, settings: DeploySettings, *, enough: int = 1) -> str | None:
    """Says so when the canary's share of failed answers, `enough` of them, is too far above the champion's."""
    gain = canary.error_rate - champion.error_rate
    if canary.failed < enough or gain <= settings.max_error_rate_gain:
        return None
    return (
        f"{canary.failed:.0f} of its {canary.all:.0f} answers failed, the champion's {champion.failed:.0f} of "
        f"{champion.all:.0f} (deploy.max_error_rate_gain is {settings.max_error_rate_gain})"
    )


def latency_against(canary: Answered, champion: Answered, settings: DeploySettings) -> str | None:
    """Says so when the canary is too slow; not with too few answers of either."""
    if min(canary.good, champion.good) < settings.min_requests:
        return None
    slow, usual = quantile(canary.seconds, QUANTILE), quantile(champion.seconds, QUANTILE)
    if slow <= usual * settings.max_latency_ratio:
        return None
    return (
        f"95 % of its answers come within {1000 * slow:.0f} ms, of the champion's within {1000 * usual:.0f} ms "
        f"(deploy.max_latency_ratio is {settings.max_latency_ratio})"
    )


def feedback_against(online: Online, settings: DeploySettings) -> str | None:
    """Says so when people surely liked it less: the interval of the difference, by bootstrap over users, lies wholly
    below what is allowed. Not with too few answers of either."""
    variants = {variant.name: variant for variant in online.variants}
    canary, champion = variants.get(CANARY), variants.get(CHAMPION)
    if canary is None or champion is None or min(canary.impressions, champion.impressions) < settings.min_requests:
        return None
    for metric in QUALITY_METRICS:
        usual, mean, difference = (
            champion.figures[metric].mean, canary.figures[metric].mean, canary.against_champion[metric],
        )  # fmt: skip
        if usual is None or difference.high is None:
            continue
        if difference.high < (settings.min_positive_ratio - 1.0) * usual:
            return (
                f"its {metric} is {mean:.4f}, the champion's {usual:.4f}, a difference of at most "
                f"{difference.high:.4f} (95 %; deploy.min_positive_ratio is {settings.min_positive_ratio})"
            )
    return None


def quantile(seconds: Mapping[float, float], share: float) -> float:
    """Of a cumulative histogram by upper bound, linear inside a bin; the last finite bound for what lies beyond."""
    bounds = sorted(seconds)
    wanted = share * seconds[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        if seconds[bound] >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (wanted - below) / max(seconds[bound] - below, 1e-12)
        low, below = bound, seconds[bound]
    return low


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
    moved = {one.feature: one.value for one in drifts if one.feature in TRAINABLE_FEATURES and one.value is not None}
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
