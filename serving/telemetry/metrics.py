"""What Prometheus reads at /metrics."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from serving.telemetry.tracing import Traces

STAGES = ("history", "interest", "list", "reasons", "store")
"""What an answer takes: the user's history out of Postgres; from it the interest; candidates, scores, filters and
re-ranking; the reasons; feedback into Postgres."""
SPOOL_GAUGES = {
    "duotempo_spool_rows": "Feedback that waits for Postgres.",
    "duotempo_spool_seconds": "How long the first of it has waited.",
    "duotempo_spool_used_ratio": "Share of the spool that is taken.",
    "duotempo_dead_letters": "Rows that Postgres refuses everywhere.",
}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """One registry of our own, so that nothing of another library mixes in."""

    def __init__(self, traces: Traces | None = None) -> None:
        """traces: that tell of each stage too."""
        disable_created_metrics()
        self._traces = traces or Traces()
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "duotempo_requests", "Answered requests.", ["route", "method", "status"], registry=self._registry
        )
        self.latency = Histogram(
            "duotempo_request_seconds", "Time to answer.", ["route"], buckets=BUCKETS, registry=self._registry
        )
        self.degraded = Counter(
            "duotempo_degraded", "Answers given without the database.", ["cause"], registry=self._registry
        )
        self.impressions_lost = Counter(
            "duotempo_impressions_lost", "Answers whose impression could not be kept.", registry=self._registry
        )
        self.feedback = Counter("duotempo_feedback_events", "Feedback events.", ["outcome"], registry=self._registry)
        self.recommended = Counter(
            "duotempo_recommendations", "Answered lists.", ["user_state"], registry=self._registry
        )
        self.long_share = Histogram(
            "duotempo_long_share",
            "Share of the long-term interest in an answer.",
            buckets=tuple(step / 10 for step in range(1, 11)),
            registry=self._registry,
        )
        self.model = Gauge(
            "duotempo_model_info", "The models that this service holds.", ["model_version"], registry=self._registry
        )
        self.users = Gauge(
            "duotempo_users", "Users in memory, as they are now.", ["model_version"], registry=self._registry
        )
        self.items_waiting = Gauge(
            "duotempo_items_waiting",
            "New items that have no vector yet, and are in no answer.",
            ["model_version"],
            registry=self._registry,
        )
        self.answers = Counter(
            "duotempo_answers",
            "Lists by variant; a shadow's are not shown.",
            ["variant", "model_version", "outcome"],
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "duotempo_answer_seconds",
            "Time to make a list, by variant.",
            ["variant", "model_version"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "duotempo_stage_seconds",
            "Time of what an answer takes, where it is not known from before.",
            ["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._stages = {name: self.stage_seconds.labels(name) for name in STAGES}
        self.candidates = Histogram(
            "duotempo_candidates",
            "Items that were scored for a list.",
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
        """Measures one of STAGES, if it ends well."""
        started = time.perf_counter()
        with self._traces.span(name):
            yield
        self._stages[name].observe(time.perf_counter() - started)

    def follow_spool(self, size: Callable[[], tuple[float, float, float, float]]) -> None:
        """size: of the spool, now: each of SPOOL."""
        for index, (name, text) in enumerate(SPOOL_GAUGES.items()):
            gauge = Gauge(name, text, registry=self._registry)
            gauge.set_function(partial(_spool_value, size, index))

    def follow_database(self, is_away: Callable[[], bool]) -> None:
        """away: whether requests do not ask Postgres, now."""
        gauge = Gauge("duotempo_database_away", "1 while requests do not ask Postgres.", registry=self._registry)
        gauge.set_function(is_away)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _spool_value(size: Callable[[], tuple[float, float, float, float]], index: int) -> float:
    return size()[index]
