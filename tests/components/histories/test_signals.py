import numpy as np
import pytest

from components.histories.signals import signals
from components.settings import EventSettings
from tests.support.interests import event, history


def test_a_signal_is_the_weight_with_the_sign_of_the_event() -> None:
    events = history(event("ann", "d1", 3, "view"), event("ann", "d1", 2, "purchase"), event("ann", "d1", 1, "hide"))
    weights = signals(events, EventSettings())
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx([0.3, 1.0, -1.0])


def test_only_a_low_rating_or_review_counts_as_a_dislike() -> None:
    events = history(
        event("ann", "d1", 6, "rating", 1.0),
        event("ann", "d1", 5, "rating", 1.5),
        event("ann", "d1", 4, "review", 0.5),
        event("ann", "d1", 3, "rating"),
        event("ann", "d1", 2, "purchase", 1.0),
    )
    assert signals(events, EventSettings(dislike_below=1.5)).tolist() == [-1.0, 1.0, -1.0, 1.0, 1.0]
    assert (signals(events, EventSettings()) > 0).all()


def test_no_events_give_no_signals() -> None:
    assert signals(history(), EventSettings()).shape == (0,)


def test_an_unknown_event_is_named() -> None:
    with pytest.raises(ValueError, match="'stare'"):
        signals(history(event("ann", "d1", 1, "stare")), EventSettings())
