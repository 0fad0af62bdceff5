"""Drift computed by hand, and for equal and shifted windows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from components.monitoring.drift import Drift, event_drift, interpret_psi, psi, score_drift, text_drift
from components.store.analytics import EventCounts

COUNTS = arrays.arrays(np.float64, 8, elements=st.integers(0, 10_000)).filter(lambda counts: counts.sum() > 0)


@given(COUNTS, COUNTS)
def test_psi_is_nonnegative_and_symmetric(first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    assert psi(first, second) >= 0
    assert psi(first, second) == pytest.approx(psi(second, first))


@given(COUNTS, st.integers(1, 50))
def test_psi_of_equal_shares_is_zero(counts: NDArray[np.float64], times: int) -> None:
    assert psi(counts, counts) == 0
    assert psi(counts, times * counts) == pytest.approx(0, abs=1e-12)


def test_psi_by_hand() -> None:
    """Shares 1/2, 1/2 against 3/4, 1/4: (1/4) ln(3/2) + (-1/4) ln(1/2) = (1/4) ln 3."""
    assert psi(np.array([50.0, 50.0]), np.array([30.0, 10.0])) == pytest.approx(math.log(3) / 4, abs=1e-3)


def test_an_empty_bin_gives_a_finite_psi() -> None:
    """Shares 1/2, 1/2 against 1, 0: about (1/2) ln 2 + (1/2) ln(1/2 / 0.0001)."""
    assert psi(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(
        math.log(2) / 2 + math.log(5001) / 2, rel=1e-3
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.0, "stable"), (0.099, "stable"), (0.1, "some drift"), (0.25, "some drift"), (0.26, "much drift")],
)
def test_psi_interpretation(value: float, word: str) -> None:
    assert interpret_psi(value) == word


def event_counts(
    events: int, likes: float = 0.5, first: float = 0.5, hours: range = range(24), seed: int = 0
) -> EventCounts:
    """Events on 100 items in two categories (even and odd), with the shares of likes and of even items, and hours."""
    random = np.random.default_rng(seed)
    items = 2 * random.zipf(1.5, events).clip(1, 50) - 2 + (random.random(events) >= first)
    liked = int(likes * events)
    counted = {f"i{item}": int(count) for item, count in enumerate(np.bincount(items, minlength=100)) if count}
    return EventCounts({"like": liked, "view": events - liked}, {hour: events // len(hours) for hour in hours}, counted)


CATEGORIES = {f"i{n}": [("even", "odd")[n % 2]] for n in range(100)}


def drifts(reference: EventCounts, recent: EventCounts, least: int = 100) -> dict[str, Drift]:
    return {drift.feature: drift for drift in event_drift(reference, recent, CATEGORIES, least)}


def test_the_same_distribution_is_stable() -> None:
    by_feature = drifts(event_counts(8000, seed=1), event_counts(2000, seed=2))
    assert list(by_feature) == ["events", "categories", "popularity", "hours"]
    for drift in by_feature.values():
        assert drift.value is not None and drift.value < 0.1
        assert drift.note == "stable"


@pytest.mark.parametrize(
    ("feature", "shifted"),
    [
        ("events", event_counts(2000, likes=0.05, seed=2)),
        ("categories", event_counts(2000, first=0.05, seed=2)),
        ("hours", event_counts(2000, hours=range(8, 12), seed=2)),
    ],
)
def test_the_shifted_feature_drifts(feature: str, shifted: EventCounts) -> None:
    by_feature = drifts(event_counts(8000, seed=1), shifted)
    assert by_feature[feature].note == "much drift"
    assert by_feature["events"].note == ("much drift" if feature == "events" else "stable")


def test_a_shift_to_the_long_tail_is_popularity_drift() -> None:
    even = {f"i{n}": 20 for n in range(100)}
    recent = EventCounts({"like": 1000, "view": 1000}, dict.fromkeys(range(24), 80), even)
    value = drifts(event_counts(8000, seed=1), recent)["popularity"].value
    assert value is not None and value > 0.25


def test_rare_categories_are_merged() -> None:
    """Separate bins for a thousand categories with one event each, different ones per window, would drift strongly."""
    before, after = (
        EventCounts({"view": 2000}, {0: 2000}, {"usual": 1000, **{f"{name}{n}": 1 for n in range(1000)}})
        for name in "ab"
    )
    categories = {item: [item] for event_counts in (before, after) for item in event_counts.items}
    value = {drift.feature: drift.value for drift in event_drift(before, after, categories, 100)}["categories"]
    assert value is not None and value < 0.1


def test_too_few_events_give_a_note() -> None:
    for drift in drifts(event_counts(8000), event_counts(50)).values():
        assert drift.value is None
        assert drift.note == "too few events: 8000 before and 50 in the window, 100 are needed in each"


def test_empty_windows_give_no_values() -> None:
    empty = EventCounts({}, {}, {})
    assert all(drift.value is None for drift in drifts(empty, empty).values())
    assert score_drift(np.empty(0), np.empty(0), 1).value is None
    assert text_drift(empty, empty, {"i0": 0}, np.ones((1, 2)), 1).value is None


def test_scores_are_binned_at_the_deciles_of_the_reference() -> None:
    before = np.arange(1000.0)
    assert score_drift(before, before[::2], 100).value == pytest.approx(0, abs=1e-4)
    value = score_drift(before, before[:100], 100).value
    assert value == pytest.approx(psi(np.full(10, 100.0), np.array([100.0] + [0.0] * 9)))
    assert score_drift(np.ones(500), np.ones(500), 100).value == 0


def test_texts_by_hand() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    rows = {"a": 0, "b": 1, "silent": 2}
    before, recent = EventCounts({}, {}, {"a": 10, "silent": 90}), EventCounts({}, {}, {"a": 10, "b": 10, "new": 5})
    value = text_drift(before, recent, rows, vectors, 10).value
    assert value == pytest.approx(1 - 1 / math.sqrt(2))
    assert text_drift(before, before, rows, vectors, 10).value == pytest.approx(0, abs=1e-12)
    assert text_drift(before, recent, rows, vectors, 11).value is None
