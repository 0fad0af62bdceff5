"""Reads the windows that end now out of the store, and measures them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from components.bundle.bundle import Bundle, BundleError
from components.core.columns import Columns
from components.monitoring.drift import TEXTS, Drift, event_drift, score_drift, text_drift
from components.monitoring.online import Estimate, Online, compare
from components.settings import Settings
from components.store.observed import (
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
"""Answers of a window whose scores are read."""


@dataclass(frozen=True)
class OnlineReport:
    """The comparison of variants in a window, and what shadows would have answered."""

    window: Window
    online: Online
    shadows: list[ShadowStats]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table online_metrics, differences under `difference.METRIC`."""
        return [
            {
                "measured_at": self.window.until,
                "variant": variant.name,
                "model_version": variant.model_version,
                "metric": metric,
                **figure._asdict(),
                "window_from": self.window.since,
                "window_to": self.window.until,
            }
            for variant in self.online.variants
            for metric, figure in {
                "impressions": Estimate(variant.impressions),
                "users": Estimate(variant.users),
                **variant.figures,
                **{f"difference.{metric}": figure for metric, figure in variant.against_champion.items()},
            }.items()
        ]


@dataclass(frozen=True)
class DriftReport:
    """The drift of each feature between two windows."""

    reference: Window
    window: Window
    drifts: list[Drift]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table drift."""
        return [
            {
                "measured_at": self.window.until,
                "feature": one.feature,
                "value": one.value,
                "reference_from": self.reference.since,
                "reference_to": self.reference.until,
                "window_from": self.window.since,
                "window_to": self.window.until,
            }
            for one in self.drifts
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
    """The `days` before `now` (aware) against the reference before them. Raises StoreError.

    Scores are those of the champion's latest version: another version's have another scale. The text vectors are of its
    bundle, where the deployment or the batch job has put one.
    """
    window = Window.before(now, days)
    reference = Window.before(window.since, settings.monitoring.reference_days)
    least = settings.monitoring.min_events
    before, lately = count_events(engine, reference), count_events(engine, window)
    drifts = event_drift(before, lately, read_categories(engine), least)
    version = serving_version(engine, window)
    if version is None:
        nothing = "nothing was answered in the window"
        return DriftReport(reference, window, [*drifts, Drift("scores", None, nothing), Drift(TEXTS, None, nothing)])
    scored, shown = (read_scores(engine, span, version, MAX_SCORED_LISTS) for span in (reference, window))
    texts = _text_drift(before, lately, settings.home.expanduser() / "bundles" / version, least)
    return DriftReport(reference, window, [*drifts, score_drift(scored, shown, least), texts])


def _text_drift(reference: EventCounts, recent: EventCounts, folder: Path, least: int) -> Drift:
    if not folder.is_dir():
        return Drift(TEXTS, None, f"no text vectors: the bundle of version {folder.name} is not in HOME/bundles")
    try:
        bundle = Bundle.read(folder)
    except BundleError as error:
        return Drift(TEXTS, None, f"no text vectors: {str(error).replace(str(folder.parent), 'HOME/bundles')}")
    rows = {item: row for row, item in enumerate(bundle.items[Columns.ITEM].to_pylist())}
    return text_drift(reference, recent, rows, bundle.texts, least)
