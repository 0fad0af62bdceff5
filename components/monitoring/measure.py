"""Measures variants and drift over the latest windows of the store."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from components.bundle.bundle import Bundle, BundleError
from components.core.columns import Columns
from components.monitoring.drift import TEXTS, Drift, event_drift, score_drift, text_drift
from components.monitoring.online import Estimate, VariantComparison, compare
from components.settings import Settings
from components.store.analytics import (
    EventCounts,
    ShadowStats,
    Window,
    count_events,
    read_categories,
    read_exposures,
    read_feedback,
    read_scores,
    read_shadows,
    serving_version,
)

MAX_SCORED_LISTS = 20_000
"""Most served lists of a window whose scores are read."""


@dataclass(frozen=True)
class OnlineReport:
    """The comparison of variants in a window, and statistics of the shadows."""

    window: Window
    online: VariantComparison
    shadows: list[ShadowStats]

    def rows(self) -> list[dict[str, Any]]:
        """Rows for the table online_metrics; differences are named `difference.METRIC`."""
        return [
            {
                "measured_at": self.window.until,
                "variant": variant.name,
                "model_version": variant.model_version,
                "metric": metric,
                **estimate._asdict(),
                "window_from": self.window.since,
                "window_to": self.window.until,
            }
            for variant in self.online.variants
            for metric, estimate in {
                "impressions": Estimate(variant.impressions),
                "users": Estimate(variant.users),
                **variant.figures,
                **{f"difference.{metric}": estimate for metric, estimate in variant.against_champion.items()},
            }.items()
        ]


@dataclass(frozen=True)
class DriftReport:
    """The drift of each feature between two windows."""

    reference: Window
    window: Window
    drifts: list[Drift]

    def rows(self) -> list[dict[str, Any]]:
        """Rows for the table drift."""
        return [
            {
                "measured_at": self.window.until,
                "feature": drift.feature,
                "value": drift.value,
                "reference_from": self.reference.since,
                "reference_to": self.reference.until,
                "window_from": self.window.since,
                "window_to": self.window.until,
            }
            for drift in self.drifts
        ]


def measure_online(engine: Engine, settings: Settings, now: datetime, days: float) -> OnlineReport:
    """Compares the variants in the `days` before `now` (aware). Raises StoreError."""
    window = Window.before(now, days)
    evaluation = settings.evaluation
    compared = compare(
        read_exposures(engine, window),
        read_feedback(engine, window),
        settings.events,
        k=evaluation.k,
        resamples=evaluation.bootstrap,
    )
    return OnlineReport(window, compared, read_shadows(engine, window))


def measure_drift(engine: Engine, settings: Settings, now: datetime, days: float) -> DriftReport:
    """Measures the drift of the `days` before `now` (aware) against the reference window before them.

    Scores are those of the latest champion version, as scales differ between versions. The text vectors come from its
    bundle, if a deployment or the batch job has stored it.

    Raises:
        StoreError: Postgres cannot be read.
    """
    window = Window.before(now, days)
    reference = Window.before(window.since, settings.monitoring.reference_days)
    min_events = settings.monitoring.min_events
    reference_counts, recent_counts = count_events(engine, reference), count_events(engine, window)
    drifts = event_drift(reference_counts, recent_counts, read_categories(engine), min_events)
    version = serving_version(engine, window)
    if version is None:
        note = "no requests were served in the window"
        return DriftReport(reference, window, [*drifts, Drift("scores", None, note), Drift(TEXTS, None, note)])
    reference_scores, recent_scores = (
        read_scores(engine, span, version, MAX_SCORED_LISTS) for span in (reference, window)
    )
    texts = _text_drift(reference_counts, recent_counts, settings.home.expanduser() / "bundles" / version, min_events)
    return DriftReport(reference, window, [*drifts, score_drift(reference_scores, recent_scores, min_events), texts])


def _text_drift(reference: EventCounts, recent: EventCounts, folder: Path, min_events: int) -> Drift:
    if not folder.is_dir():
        return Drift(TEXTS, None, f"no text vectors: the bundle of version {folder.name} is not in HOME/bundles")
    try:
        bundle = Bundle.read(folder)
    except BundleError as error:
        return Drift(TEXTS, None, f"no text vectors: {str(error).replace(str(folder.parent), 'HOME/bundles')}")
    rows = {item: row for row, item in enumerate(bundle.items[Columns.ITEM].to_pylist())}
    return text_drift(reference, recent, rows, bundle.texts, min_events)
