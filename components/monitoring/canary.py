"""Whether a canary does worse than the champion beside it: by errors, by latency, by what people told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.monitoring.online import CHAMPION, Online
from components.settings import DeploySettings
from components.store.variants import CANARY

QUANTILE = 0.95
ENOUGH_ERRORS = 3
"""Failed answers from which on a canary need not run to its end."""
TOLD = ("positive_rate", "liked")
"""The metrics of `components.monitoring.online` that speak for a version."""


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
    for metric in TOLD:
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
