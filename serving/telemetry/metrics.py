"""The Prometheus metrics of the service."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from serving.telemetry.tracing import Traces

STAGES = ("history", "interest", "list", "reasons", "store")
"""Stages of a request: reading the user's history from Postgres; computing the interest; candidates, scores, filters
and re-ranking; explanations; storing feedback in Postgres."""
SPOOL_GAUGES = {
    "duotempo_spool_rows": "Spooled rows of feedback.",
    "duotempo_spool_seconds": "Age of the oldest spooled row.",
    "duotempo_spool_used_ratio": "Used share of the size limit of the spool.",
    "duotempo_dead_letters": "Rows that Postgres rejects even in quarantine.",
}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All metrics, in a registry of their own, without the metrics of other libraries."""

    def __init__(self, traces: Traces | None = None) -> None:
        """
        Args:
            traces: Gets a span for each stage.
        """
        disable_created_metrics()
        self._traces = traces or Traces()
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "duotempo_requests", "Answered requests.", ["route", "method", "status"], registry=self._registry
        )
        self.latency = Histogram(
            "duotempo_request_seconds", "Latency of requests.", ["route"], buckets=BUCKETS, registry=self._registry
        )
        self.degraded = Counter(
            "duotempo_degraded", "Degraded responses, by what was unavailable.", ["cause"], registry=self._registry
        )
        self.impressions_lost = Counter(
            "duotempo_impressions_lost", "Impressions dropped or unstorable.", registry=self._registry
        )
        self.feedback = Counter(
            "duotempo_feedback_events", "Feedback events, by outcome.", ["outcome"], registry=self._registry
        )
        self.recommended = Counter(
            "duotempo_recommendations", "Recommendation lists, by user state.", ["user_state"], registry=self._registry
        )
        self.long_share = Histogram(
            "duotempo_long_share",
            "Share of the long-term interest in a response.",
            buckets=tuple(step / 10 for step in range(1, 11)),
            registry=self._registry,
        )
        self.model = Gauge(
            "duotempo_model_info", "Model versions loaded by this service.", ["model_version"], registry=self._registry
        )
        self.users = Gauge(
            "duotempo_users", "Users in the cache with a current history.", ["model_version"], registry=self._registry
        )
        self.items_waiting = Gauge(
            "duotempo_items_waiting",
            "New items without a vector, which are not recommended yet.",
            ["model_version"],
            registry=self._registry,
        )
        self.answers = Counter(
            "duotempo_answers",
            "Recommendation lists by variant; those of a shadow are not shown.",
            ["variant", "model_version", "outcome"],
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "duotempo_answer_seconds",
            "Time to compute a list, by variant.",
            ["variant", "model_version"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "duotempo_stage_seconds",
            "Time of the stages of a request; cached stages are not counted.",
            ["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._stages = {name: self.stage_seconds.labels(name) for name in STAGES}
        self.candidates = Histogram(
            "duotempo_candidates",
            "Items scored for a list.",
            buckets=tuple(10.0**power for power in range(1, 8)),
            registry=self._registry,
        )
        self.shadow_overlap = Histogram(
            "duotempo_shadow_overlap",
            "Share of the shown list that the shadow would have shown too.",
            ["model_version"],
            buckets=tuple(step / 10 for step in range(11)),
            registry=self._registry,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures one of STAGES, unless it raises."""
        started = time.perf_counter()
        with self._traces.span(name):
            yield
        self._stages[name].observe(time.perf_counter() - started)

    def watch_spool(self, size: Callable[[], tuple[float, float, float, float]]) -> None:
        """Adds the gauges of the spool.

        Args:
            size: Returns the current values, in the order of SPOOL_GAUGES.
        """
        for index, (name, text) in enumerate(SPOOL_GAUGES.items()):
            gauge = Gauge(name, text, registry=self._registry)
            gauge.set_function(partial(_spool_value, size, index))

    def watch_database(self, is_away: Callable[[], bool]) -> None:
        """Adds the gauge of the circuit breaker.

        Args:
            is_away: Whether it is open now.
        """
        gauge = Gauge(
            "duotempo_database_away",
            "1 while the circuit breaker is open: requests do not read from Postgres.",
            registry=self._registry,
        )
        gauge.set_function(is_away)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)


def _spool_value(size: Callable[[], tuple[float, float, float, float]], index: int) -> float:
    return size()[index]
