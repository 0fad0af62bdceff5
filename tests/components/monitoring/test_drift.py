"""Drift, worked out by hand, and what it says of equal and of shifted windows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.monitoring.drift import Drift, event_drift, interpret_psi, psi, score_drift, text_drift
from components.store.observed import EventCounts

COUNTS = arrays.arrays(np.float64, 8, elements=st.integers(0, 10_000)).filter(lambda counts: counts.sum() > 0)


@given(COUNTS, COUNTS)
def test_psi_is_never_negative_and_has_no_direction(one: np.ndarray, other: np.ndarray) -> None:
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))


@given(COUNTS, st.integers(1, 50))
def test_psi_of_equal_shares_is_zero(counts: np.ndarray, times: int) -> None:
    assert psi(counts, counts) == 0
    assert psi(counts, times * counts) == pytest.approx(0, abs=1e-12)


def test_psi_by_hand() -> None:
    """Shares 1/2, 1/2 against 3/4, 1/4: (1/4) ln(3/2) + (-1/4) ln(1/2) = (1/4) ln 3."""
    assert psi(np.array([50.0, 50.0]), np.array([30.0, 10.0])) == pytest.approx(math.log(3) / 4, abs=1e-3)


def test_a_bin_that_vanishes_has_a_finite_psi() -> None:
    """Shares 1/2, 1/2 against 1, 0: about (1/2) ln 2 + (1/2) ln(1/2 / 0.0001)."""
    assert psi(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(
        math.log(2) / 2 + math.log(5001) / 2, rel=1e-3
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.0, "stable"), (0.099, "stable"), (0.1, "some drift"), (0.25, "some drift"), (0.26, "much drift")],
)
def test_the_usual_reading(value: float, word: str) -> None:
    assert interpret_psi(value) == word


def met(events: int, likes: float = 0.5, first: float = 0.5, hours: range = range(24), seed: int = 0) -> EventCounts:
    """Events on 100 items, of which even ones are of one category: shares of likes and of even items, and hours."""
    random = np.random.default_rng(seed)
    items = 2 * random.zipf(1.5, events).clip(1, 50) - 2 + (random.random(events) >= first)
    liked = int(likes * events)
    counted = {f"i{item}": int(count) for item, count in enumerate(np.bincount(items, minlength=100)) if count}
    return EventCounts({"like": liked, "view": events - liked}, {hour: events // len(hours) for hour in hours}, counted)


CATEGORIES = {f"i{n}": [("even", "odd")[n % 2]] for n in range(100)}


def drifts(reference: EventCounts, recent: EventCounts, least: int = 100) -> dict[str, Drift]:
    return {one.feature: one for one in event_drift(reference, recent, CATEGORIES, least)}


def test_the_same_distribution_is_stable() -> None:
    found = drifts(met(8000, seed=1), met(2000, seed=2))
    assert list(found) == ["events", "categories", "popularity", "hours"]
    for one in found.values():
        assert one.value is not None and one.value < 0.1
        assert one.note == "stable"


@pytest.mark.parametrize(
    ("feature", "shifted"),
    [
        ("events", met(2000, likes=0.05, seed=2)),
        ("categories", met(2000, first=0.05, seed=2)),
        ("hours", met(2000, hours=range(8, 12), seed=2)),
    ],
)
def test_what_shifted_is_named(feature: str, shifted: EventCounts) -> None:
    found = drifts(met(8000, seed=1), shifted)
    assert found[feature].note == "much drift"
    assert found["events"].note == ("much drift" if feature == "events" else "stable")


def test_a_turn_to_the_tail_is_a_drift_of_popularity() -> None:
    even = {f"i{n}": 20 for n in range(100)}
    recent = EventCounts({"like": 1000, "view": 1000}, dict.fromkeys(range(24), 80), even)
    value = drifts(met(8000, seed=1), recent)["popularity"].value
    assert value is not None and value > 0.25


def test_rare_categories_are_taken_together() -> None:
    """A thousand categories that were met once each, others in each window, would drift endlessly if told apart."""
    before, after = (
        EventCounts({"view": 2000}, {0: 2000}, {"usual": 1000, **{f"{name}{n}": 1 for n in range(1000)}})
        for name in "ab"
    )
    own = {item: [item] for met in (before, after) for item in met.items}
    value = {one.feature: one.value for one in event_drift(before, after, own, 100)}["categories"]
    assert value is not None and value < 0.1


def test_too_few_events_say_so() -> None:
    for one in drifts(met(8000), met(50)).values():
        assert one.value is None
        assert one.note == "too few events: 8000 before and 50 in the window, 100 are needed in each"


def test_empty_windows_say_so() -> None:
    nothing = EventCounts({}, {}, {})
    assert all(one.value is None for one in drifts(nothing, nothing).values())
    assert score_drift(np.empty(0), np.empty(0), 1).value is None
    assert text_drift(nothing, nothing, {"i0": 0}, np.ones((1, 2)), 1).value is None


def test_scores_are_binned_by_the_deciles_of_the_reference() -> None:
    before = np.arange(1000.0)
    assert score_drift(before, before[::2], 100).value == pytest.approx(0, abs=1e-4)
    value = score_drift(before, before[:100], 100).value
    assert value == pytest.approx(psi(np.full(10, 100.0), np.array([100.0] + [0.0] * 9)))
    assert score_drift(np.ones(500), np.ones(500), 100).value == 0


def test_texts_by_hand() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    rows = {"a": 0, "b": 1, "silent": 2}
    before, lately = EventCounts({}, {}, {"a": 10, "silent": 90}), EventCounts({}, {}, {"a": 10, "b": 10, "new": 5})
    value = text_drift(before, lately, rows, vectors, 10).value
    assert value == pytest.approx(1 - 1 / math.sqrt(2))
    assert text_drift(before, before, rows, vectors, 10).value == pytest.approx(0, abs=1e-12)
    assert text_drift(before, lately, rows, vectors, 11).value is None
