"""Monitors a running canary: errors and latency from the service's metrics, and the users' feedback."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.monitoring.canary import ENOUGH_ERRORS as MIN_ERRORS
from components.monitoring.canary import AnswerStats, errors_against, feedback_against, latency_against
from components.monitoring.online import CHAMPION, VariantComparison, compare
from components.registry import RegistryUnavailable
from components.settings import Settings
from components.store.analytics import Window, read_exposures, read_feedback
from components.store.engine import StoreError
from components.store.variants import CANARY

POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
log = logging.getLogger(__name__)
Labels = tuple[str, str, str]
"""Variant, version, and the outcome or the histogram bucket's upper bound."""


class CanaryWorse(DuotempoError):
    """The canary is worse than the champion; the message names the metrics."""


@dataclass(frozen=True)
class VersionPair:
    """The compared versions, and the start of the comparison."""

    canary: str
    champion: str
    since: datetime


@dataclass
class AnswerCounter:
    """Sums up the growth of a service's counters since the first poll, across its restarts."""

    url: str
    _last: dict[Labels, float] | None = None
    _growth: Counter[Labels] = field(default_factory=Counter)

    def poll(self) -> None:
        """Polls the service's metrics. Raises httpx.HTTPError; the next successful poll counts everything since."""
        answer = httpx.get(f"{self.url}/metrics", timeout=TIMEOUT_SECONDS).raise_for_status()
        now = _parse_counters(answer.text)
        for labels, value in now.items():
            before = value if self._last is None else self._last.get(labels, 0.0)
            self._growth[labels] += value - before if value >= before else value  # type: ignore[assignment]
        self._last = now

    def stats(self, variant: str, version: str) -> AnswerStats:
        own = {last: n for (name, number, last), n in self._growth.items() if (name, number) == (variant, version)}
        seconds = {float(bound): n for bound, n in own.items() if bound not in ("ok", "error")}
        return AnswerStats(own.get("ok", 0.0), own.get("error", 0.0), seconds)


def watch(
    url: str,
    engine: Engine,
    pair: VersionPair,
    read_settings: Callable[[], Settings],
    check_cancelled: Callable[[], None],
) -> str:
    """Watches a canary for `deploy.canary_seconds` and compares it with the champion.

    Polls that fail because the service or a server is down are skipped.

    Args:
        url: Base URL of the service.
        read_settings: Called at each poll, so that a running canary can be made shorter or longer.
        check_cancelled: Called at each poll; raises an error to end the canary early.

    Returns:
        A summary of both versions' answers, if the canary is no worse.

    Raises:
        CanaryWorse: At once for errors; at the end for latency and feedback.
        StoreError: Postgres is down at the end.
    """
    meter = AnswerCounter(url)
    began, settings = time.monotonic(), read_settings()
    while (left := began + settings.deploy.canary_seconds - time.monotonic()) > 0:
        try:
            check_cancelled()
            meter.poll()
        except (httpx.HTTPError, RegistryUnavailable, StoreError):
            pass
        else:
            if why := errors_against(*_stats_of_both(meter, pair), settings.deploy, enough=MIN_ERRORS):
                raise CanaryWorse(why)
        time.sleep(min(POLL_SECONDS, left))
        try:
            settings = read_settings()
        except ValueError as error:
            log.warning("the settings are invalid, the canary keeps its previous ones: %s", error)
    check_cancelled()
    with suppress(httpx.HTTPError):
        meter.poll()
    canary, champion = _stats_of_both(meter, pair)
    reasons = (
        errors_against(canary, champion, settings.deploy),
        latency_against(canary, champion, settings.deploy),
        feedback_against(compare_feedback(engine, pair, settings), settings.deploy),
    )
    if any(reasons):
        raise CanaryWorse("; ".join(reason for reason in reasons if reason))
    return f"canary: {canary}; champion: {champion}"


def compare_feedback(engine: Engine, pair: VersionPair, settings: Settings) -> VariantComparison:
    """Compares the feedback on both versions' answers. Raises StoreError."""
    window = Window(pair.since, datetime.now(UTC))
    exposures = read_exposures(engine, window)
    variants, versions = exposures[Columns.VARIANT], exposures[Columns.MODEL_VERSION]
    compared = ((variants == CANARY) & (versions == pair.canary)) | (
        (variants == CHAMPION) & (versions == pair.champion)
    )
    evaluation = settings.evaluation
    return compare(
        exposures[compared],
        read_feedback(engine, window),
        settings.events,
        k=evaluation.k,
        resamples=evaluation.bootstrap,
    )


def _stats_of_both(meter: AnswerCounter, pair: VersionPair) -> tuple[AnswerStats, AnswerStats]:
    return meter.stats(CANARY, pair.canary), meter.stats(CHAMPION, pair.champion)


def _parse_counters(text: str) -> dict[Labels, float]:
    counters: dict[Labels, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "duotempo_answers_total":
                last = sample.labels["outcome"]
            elif sample.name == "duotempo_answer_seconds_bucket":
                last = sample.labels["le"]
            else:
                continue
            counters[sample.labels["variant"], sample.labels["model_version"], last] = sample.value
    return counters
