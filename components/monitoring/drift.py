"""How far the events and answers of a recent window are from those of the reference window before it.

The population stability index and a distance of centroids are a few lines; evidently, NannyML and Alibi Detect would
bring a framework each for them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.store.observed import EventCounts

PSI_MODERATE, PSI_SIGNIFICANT = 0.1, 0.25
"""The usual reading of a PSI (Siddiqi, Credit Risk Scorecards, 2006): below the first stable, above the second much
has changed."""
SMOOTHING = 1e-4
"""Added to every share, so that one that is zero in one window only has a logarithm."""
TOP_CATEGORIES = 20
"""Categories that are told apart, the most frequent ones; a sample of n events has a PSI of about (categories - 1) / n
by chance alone (Yurdakul, Naranjo, Statistical properties of the population stability index, 2020)."""
DECILES = 10
NO_CATEGORY, OTHER_CATEGORIES = "", "\x00"
"""Stand for an item without categories, and for all categories that are not frequent."""
TEXTS = "texts"
"""The only feature that is no PSI but a cosine distance."""


@dataclass(frozen=True)
class Drift:
    """How far a feature has moved; None where it cannot be measured. note: how to read it, or why there is none."""

    feature: str
    value: float | None
    note: str


def psi(reference: np.ndarray, recent: np.ndarray) -> float:
    """Population stability index of two counts (bins,): sum over the bins of (p - q) ln(p / q), p and q their shares.

    It is at least 0, and 0 where the shares are equal. Each needs at least one event.
    """
    q, p = (counts / counts.sum() + SMOOTHING for counts in (reference, recent))
    return float(np.sum((p - q) * np.log(p / q)))


def event_drift(
    reference: EventCounts, recent: EventCounts, categories: Mapping[str, Sequence[str]], min_events: int
) -> list[Drift]:
    """Drift of what people do: kinds of events, categories and popularity of the items met, hours of the day (UTC).

    categories: of each item.
    """
    features: dict[str, Sequence[Mapping[Any, int]]] = {
        "events": (reference.kinds, recent.kinds),
        "categories": _merge_rare(*(_by_category(met, categories) for met in (reference, recent))),
        "popularity": _by_popularity(reference, recent),
        "hours": (reference.hours, recent.hours),
    }
    if few := _too_few_reason("events", reference.events, recent.events, min_events):
        return [Drift(feature, None, few) for feature in features]
    return [_count_drift(feature, windows) for feature, windows in features.items()]


def score_drift(reference: np.ndarray, recent: np.ndarray, min_items: int) -> Drift:
    """Drift of the scores of shown items, (n,) and (m,), in bins between the deciles of the reference."""
    if few := _too_few_reason("scored items", len(reference), len(recent), min_items):
        return Drift("scores", None, few)
    edges = np.unique(np.quantile(reference, np.arange(1, DECILES) / DECILES))
    counts = (
        np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)
        for scores in (reference, recent)
    )
    return _psi_drift("scores", psi(*counts))


def text_drift(
    reference: EventCounts, recent: EventCounts, rows: Mapping[str, int], vectors: np.ndarray, min_events: int
) -> Drift:
    """1 - cosine between the mean text vectors of the items met, each counted as often as it was met.

    rows: of each item in `vectors` (items, e); a zero row has no text. An item that is not there does not count.
    """
    told = np.abs(vectors).sum(axis=1) > 0
    sums, events = [], []
    for met in (reference, recent):
        known = [(rows[item], count) for item, count in met.items.items() if item in rows and told[rows[item]]]
        counts = np.array([count for _, count in known], dtype=np.float64)
        sums.append(counts @ vectors[[row for row, _ in known]])
        events.append(int(counts.sum()))
    if few := _too_few_reason("events of items with a text vector", events[0], events[1], min_events):
        return Drift(TEXTS, None, few)
    cosine = sums[0] @ sums[1] / np.prod([np.linalg.norm(total) for total in sums])
    return Drift(TEXTS, max(0.0, float(1 - cosine)), "1 - cosine, has no usual reading")


def interpret_psi(value: float) -> str:
    """What a PSI is usually read as."""
    return "stable" if value < PSI_MODERATE else "some drift" if value <= PSI_SIGNIFICANT else "much drift"


def _too_few_reason(what: str, reference: int, recent: int, least: int) -> str:
    """Why nothing is told; empty where there is enough."""
    if min(reference, recent) >= least:
        return ""
    return f"too few {what}: {reference} before and {recent} in the window, {least} are needed in each"


def _by_category(met: EventCounts, categories: Mapping[str, Sequence[str]]) -> Counter[str]:
    """An event counts once for each category of its item."""
    counts: Counter[str] = Counter()
    for item, count in met.items.items():
        for name in categories.get(item) or [NO_CATEGORY]:
            counts[name] += count
    return counts


def _merge_rare(*windows: Counter[str]) -> list[Counter[str]]:
    """The categories that are frequent in both windows together, the others made one."""
    frequent = {name for name, _ in sorted(sum(windows, Counter()).items(), key=_by_count_descending)[:TOP_CATEGORIES]}
    folded: list[Counter[str]] = []
    for counts in windows:
        kept = Counter({name: count for name, count in counts.items() if name in frequent})
        kept[OTHER_CATEGORIES] = counts.total() - kept.total()
        folded.append(kept)
    return folded


def _by_popularity(*windows: EventCounts) -> list[Counter[int]]:
    """Events by decile of their item's popularity, 0 the tenth of the items that was met most.

    Popularity is that of both windows together: by that of the reference alone a lucky item of it would seem to fall.
    """
    both = sum((Counter(met.items) for met in windows), Counter[str]())
    ordered = sorted(both.items(), key=_by_count_descending)
    decile = {item: DECILES * place // len(ordered) for place, (item, _) in enumerate(ordered)}
    counts: list[Counter[int]] = []
    for met in windows:
        counts.append(Counter())
        for item, count in met.items.items():
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
