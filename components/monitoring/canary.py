"""Compares a canary with the champion by errors, latency and feedback, and decides whether to retrain early."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from components.monitoring.drift import Drift
from components.monitoring.online import CHAMPION, VariantComparison
from components.settings import DeploySettings, MonitoringSettings
from components.store.variants import CANARY

QUANTILE = 0.95
ENOUGH_ERRORS = 3
"""Failed answers from which on a canary may be stopped early."""
QUALITY_METRICS = ("positive_rate", "liked")
"""The metrics of `components.monitoring.online` that canaries are compared by."""
TRAINABLE_FEATURES = ("events", "categories", "popularity", "scores")
"""Features whose drift retraining can adapt to. Models ignore the hour of the day; text drift has no threshold."""


@dataclass(frozen=True)
class AnswerStats:
    """Answers of a variant in a time span.

    Attributes:
        seconds: Latency histogram: cumulative counts by upper bound in seconds.
    """

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


def errors_against(
    canary: AnswerStats, champion: AnswerStats, settings: DeploySettings, *, enough: int = 1
) -> str | None:
    """Explains why the canary's error rate is too high, None if it is not.

    Args:
        enough: Minimum failed answers of the canary.
    """
    gain = canary.error_rate - champion.error_rate
    if canary.failed < enough or gain <= settings.max_error_rate_gain:
        return None
    return (
        f"{canary.failed:.0f} of its {canary.all:.0f} answers failed, the champion's {champion.failed:.0f} of "
        f"{champion.all:.0f} (deploy.max_error_rate_gain is {settings.max_error_rate_gain})"
    )


def latency_against(canary: AnswerStats, champion: AnswerStats, settings: DeploySettings) -> str | None:
    """Explains why the canary is too slow; None if it is not, or with too few answers of either version."""
    if min(canary.good, champion.good) < settings.min_requests:
        return None
    canary_latency, champion_latency = quantile(canary.seconds, QUANTILE), quantile(champion.seconds, QUANTILE)
    if canary_latency <= champion_latency * settings.max_latency_ratio:
        return None
    return (
        f"95 % of its answers come within {1000 * canary_latency:.0f} ms, of the champion's within "
        f"{1000 * champion_latency:.0f} ms (deploy.max_latency_ratio is {settings.max_latency_ratio})"
    )


def feedback_against(online: VariantComparison, settings: DeploySettings) -> str | None:
    """Explains why the canary's feedback is too bad; None if it is not, or with too few answers of either version.

    The 95 % interval of the difference, by bootstrap over users, must lie entirely below the allowed loss.
    """
    variants = {variant.name: variant for variant in online.variants}
    canary, champion = variants.get(CANARY), variants.get(CHAMPION)
    if canary is None or champion is None or min(canary.impressions, champion.impressions) < settings.min_requests:
        return None
    for metric in QUALITY_METRICS:
        champion_mean, mean, difference = (
            champion.figures[metric].mean, canary.figures[metric].mean, canary.against_champion[metric],
        )  # fmt: skip
        if champion_mean is None or difference.high is None:
            continue
        if difference.high < (settings.min_positive_ratio - 1.0) * champion_mean:
            return (
                f"its {metric} is {mean:.4f}, the champion's {champion_mean:.4f}, a difference of at most "
                f"{difference.high:.4f} (95 %; deploy.min_positive_ratio is {settings.min_positive_ratio})"
            )
    return None


def quantile(seconds: Mapping[float, float], share: float) -> float:
    """A quantile of a cumulative histogram, interpolated linearly inside a bin.

    Args:
        seconds: Cumulative counts by upper bound.
        share: 0 to 1.

    Returns:
        Seconds; at most the last finite bound.
    """
    bounds = sorted(seconds)
    target = share * seconds[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        if seconds[bound] >= target:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (target - below) / max(seconds[bound] - below, 1e-12)
        low, below = bound, seconds[bound]
    return low


@dataclass(frozen=True)
class TrainingState:
    """The state of training.

    Attributes:
        cut: Cut of the newest version's snapshot; None without a version.
        new_events: Events since that cut.
        running: Whether a retraining is running or waiting for a worker.
        last_start: When the last retraining started.
    """

    cut: datetime | None
    new_events: int
    running: bool
    last_start: datetime | None


@dataclass(frozen=True)
class Decision:
    """Whether to retrain now, and why or why not."""

    retrain: bool
    reason: str


def decide(drifts: Sequence[Drift], trained: TrainingState, now: datetime, settings: MonitoringSettings) -> Decision:
    """Decides whether to start a retraining early.

    Drift that the newest version has already learned does not count, or it would trigger a retraining at every check
    until the window has moved on. It counts as learned if the snapshot covers more than half of the window.
    """
    if trained.cut is None:
        return Decision(False, "there is no version yet: duotempo retrain makes the first")
    causes = []
    measured = {
        drift.feature: drift.value
        for drift in drifts
        if drift.feature in TRAINABLE_FEATURES and drift.value is not None
    }
    above = [f"{name} {value:.3f}" for name, value in measured.items() if value > settings.retrain_drift]
    learned = trained.cut > now - timedelta(days=settings.window_days / 2)
    if above and not learned:
        causes.append(f"drift above {settings.retrain_drift:g}: {', '.join(above)}")
    if trained.new_events >= settings.retrain_events:
        causes.append(f"{trained.new_events} events that the newest version does not know")
    if not causes:
        drifted = (
            f"the newest version has learnt the drift of {', '.join(above)}" if above else "no drift above the limit"
        )
        return Decision(False, f"{drifted}, {trained.new_events} new events")
    reason = "; ".join(causes)
    if trained.running:
        return Decision(False, f"{reason}; but a retraining is running")
    pause = timedelta(hours=settings.retrain_pause_hours)
    if trained.last_start is not None and trained.last_start > now - pause:
        return Decision(False, f"{reason}; but the last retraining started at {trained.last_start:%Y-%m-%d %H:%M} UTC")
    return Decision(True, reason)
