"""Recent feedback is kept by user, each event once, and removed on request."""

from datetime import UTC, datetime

import pytest

from components.store.history import Interaction
from components.store.rows import EventRow
from serving.recommend import recent_feedback
from serving.recommend.recent_feedback import RecentFeedback


def clicked(event_id: str, user: str, item: str = "boots") -> EventRow:
    at = datetime.fromtimestamp(5, UTC)
    return EventRow(event_id, user, item, "click", None, "a text", at, None, None, None, None, "feedback")


def test_of_several_events_with_one_id_the_first_counts() -> None:
    recent = RecentFeedback()
    recent.add([clicked("1", "ann"), clicked("2", "anna")])
    recent.add([clicked("1", "ann", "socks"), clicked("3", "ann", "hat")])
    assert recent.of("ann") == [Interaction("boots", "click", None, 5.0), Interaction("hat", "click", None, 5.0)]
    assert (len(recent.of("anna")), recent.of("an"), recent.of("nn")) == (1, [], [])


def test_events_of_removed_users_are_dropped() -> None:
    recent = RecentFeedback()
    recent.add([clicked("1", "ann"), clicked("2", "anna")])
    recent.remove("ann")
    assert (recent.of("ann"), len(recent.of("anna"))) == ([], 1)
    recent.remove(None)
    assert recent.of("anna") == []


def test_the_oldest_events_are_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_feedback, "MAX_EVENTS", 2)
    recent = RecentFeedback()
    for event_id in "123":
        recent.add([clicked(event_id, f"user {event_id}")])
    assert [len(recent.of(f"user {event_id}")) for event_id in "123"] == [0, 1, 1]
