"""Drift of events and scores between a recent window and the reference window before it.

The population stability index and a distance of centroids take a few lines; Evidently, NannyML or Alibi Detect would
add a whole framework for them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.store.analytics import EventCounts

PSI_MODERATE, PSI_SIGNIFICANT = 0.1, 0.25
"""The usual PSI thresholds (Siddiqi, Credit Risk Scorecards, 2006): below the first stable, above the second a
significant shift."""
SMOOTHING = 1e-4
"""Added to every share, so that the logarithm of an empty bin is finite."""
TOP_CATEGORIES = 20
"""Most frequent categories with a bin of their own. By chance alone a sample of n events has a PSI of about
(categories - 1) / n (Yurdakul, Naranjo, Statistical properties of the population stability index, 2020)."""
DECILES = 10
NO_CATEGORY, OTHER_CATEGORIES = "", "\x00"
"""Bins of items without categories and of all rare categories."""
TEXTS = "texts"
"""The only feature measured by a cosine distance instead of a PSI."""


@dataclass(frozen=True)
class Drift:
    """The drift of a feature.

    Attributes:
        value: PSI or cosine distance; None where it cannot be measured.
        note: Interpretation of the value, or why there is none.
    """

    feature: str
    value: float | None
    note: str


def psi(reference: NDArray[Any], recent: NDArray[Any]) -> float:
    """Population stability index: sum over the bins of (p - q) ln(p / q), with p and q the shares of two histograms.

    At least 0, and 0 for equal shares.

    Args:
        reference: Counts (bins,) with a positive sum.
        recent: Counts (bins,) with a positive sum.
    """
    q, p = (counts / counts.sum() + SMOOTHING for counts in (reference, recent))
    return float(np.sum((p - q) * np.log(p / q)))


def event_drift(
    reference: EventCounts, recent: EventCounts, categories: Mapping[str, Sequence[str]], min_events: int
) -> list[Drift]:
    """Drift of events by kind, by category and popularity of their items, and by hour of the day (UTC).

    Args:
        categories: Categories by item.
        min_events: Minimum events of each window.
    """
    features: dict[str, Sequence[Mapping[Any, int]]] = {
        "events": (reference.kinds, recent.kinds),
        "categories": _merge_rare(*(_by_category(window, categories) for window in (reference, recent))),
        "popularity": _by_popularity(reference, recent),
        "hours": (reference.hours, recent.hours),
    }
    if too_few := _too_few_reason("events", reference.events, recent.events, min_events):
        return [Drift(feature, None, too_few) for feature in features]
    return [_count_drift(feature, windows) for feature, windows in features.items()]


def score_drift(reference: NDArray[np.float64], recent: NDArray[np.float64], min_items: int) -> Drift:
    """Drift of the scores of served items, (n,) and (m,), in bins at the deciles of the reference."""
    if too_few := _too_few_reason("scored items", len(reference), len(recent), min_items):
        return Drift("scores", None, too_few)
    edges = np.unique(np.quantile(reference, np.arange(1, DECILES) / DECILES))
    counts = (
        np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)
        for scores in (reference, recent)
    )
    return _psi_drift("scores", psi(*counts))


def text_drift(
    reference: EventCounts, recent: EventCounts, rows: Mapping[str, int], vectors: NDArray[Any], min_events: int
) -> Drift:
    """Cosine distance between the mean text vectors of the windows' events.

    Args:
        rows: Row of each item in `vectors`; events of other items are ignored.
        vectors: (items, e); items with a zero row have no text and are ignored.
        min_events: Minimum events with a text vector of each window.
    """
    has_text = np.abs(vectors).sum(axis=1) > 0
    sums, events = [], []
    for window in (reference, recent):
        weighted = [
            (rows[item], count) for item, count in window.items.items() if item in rows and has_text[rows[item]]
        ]
        counts = np.array([count for _, count in weighted], dtype=np.float64)
        sums.append(counts @ vectors[[row for row, _ in weighted]])
        events.append(int(counts.sum()))
    if too_few := _too_few_reason("events of items with a text vector", events[0], events[1], min_events):
        return Drift(TEXTS, None, too_few)
    cosine = sums[0] @ sums[1] / np.prod([np.linalg.norm(total) for total in sums])
    return Drift(TEXTS, max(0.0, float(1 - cosine)), "1 - cosine, has no usual reading")


def interpret_psi(value: float) -> str:
    """The usual interpretation of a PSI."""
    return "stable" if value < PSI_MODERATE else "some drift" if value <= PSI_SIGNIFICANT else "much drift"


def _too_few_reason(what: str, reference: int, recent: int, minimum: int) -> str:
    """Why the drift cannot be measured; empty if there is enough data."""
    if min(reference, recent) >= minimum:
        return ""
    return f"too few {what}: {reference} before and {recent} in the window, {minimum} are needed in each"


def _by_category(window: EventCounts, categories: Mapping[str, Sequence[str]]) -> Counter[str]:
    """Events by category; an event counts once for each category of its item."""
    counts: Counter[str] = Counter()
    for item, count in window.items.items():
        for name in categories.get(item) or [NO_CATEGORY]:
            counts[name] += count
    return counts


def _merge_rare(*windows: Counter[str]) -> list[Counter[str]]:
    """Merges all categories but the most frequent ones of all windows into one bin."""
    frequent = {name for name, _ in sorted(sum(windows, Counter()).items(), key=_by_count_descending)[:TOP_CATEGORIES]}
    merged: list[Counter[str]] = []
    for counts in windows:
        kept = Counter({name: count for name, count in counts.items() if name in frequent})
        kept[OTHER_CATEGORIES] = counts.total() - kept.total()
        merged.append(kept)
    return merged


def _by_popularity(*windows: EventCounts) -> list[Counter[int]]:
    """Events by popularity decile of their item, 0 being the most popular.

    Popularity is counted over all windows: counted over the reference only, items popular there by chance would seem
    to decline (regression to the mean).
    """
    total = sum((Counter(window.items) for window in windows), Counter[str]())
    by_count = sorted(total.items(), key=_by_count_descending)
    decile = {item: DECILES * position // len(by_count) for position, (item, _) in enumerate(by_count)}
    counts: list[Counter[int]] = []
    for window in windows:
        counts.append(Counter())
        for item, count in window.items.items():
            counts[-1][decile[item]] += count
    return counts


def _by_count_descending(counted: tuple[str, int]) -> tuple[int, str]:
    name, count = counted
    return -count, name


def _count_drift(feature: str, windows: Sequence[Mapping[Any, int]]) -> Drift:
    bins = sorted({*windows[0], *windows[1]})
    return _psi_drift(
        feature, psi(*(np.array([counts.get(name, 0) for name in bins], np.float64) for counts in windows))
    )


def _psi_drift(feature: str, value: float) -> Drift:
    return Drift(feature, value, interpret_psi(value))
