import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.evaluation.baselines import Popularity, RecentPopularity
from components.histories.states import SECONDS_A_DAY

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=50)
ITEMS = 7
Events = list[tuple[int, int, int]]
"""User, item and day."""


def fitted(model: Popularity, events: Events) -> Popularity:
    users, items, days = np.array(events).T
    return model.fit(users, items, days * SECONDS_A_DAY, ITEMS)


def expected_counts(events: Events, since: int, before: int) -> NDArray[np.float64]:
    counts = np.zeros(ITEMS)
    for item in range(ITEMS):
        counts[item] = len({user for user, seen, day in events if seen == item and since <= day < before})
    return np.where(counts > 0, counts, -np.inf)


@settings(deadline=None)
@given(EVENTS, st.lists(st.integers(0, 50), min_size=1, max_size=10))
def test_scores_count_users_before_each_time(events: Events, days: list[int]) -> None:
    moments = np.array(days) * SECONDS_A_DAY
    scores = fitted(Popularity(), events).scores(moments)
    recent = fitted(RecentPopularity(), events).scores(moments)
    for row, day in enumerate(days):
        assert scores[row].tolist() == expected_counts(events, -1, day).tolist()
        assert recent[row].tolist() == expected_counts(events, day - 7, day).tolist()


@settings(deadline=None)
@given(EVENTS)
def test_final_scores_count_back_from_the_last_event(events: Events) -> None:
    last = max(day for _, _, day in events)
    assert fitted(Popularity(), events).final_scores().tolist() == expected_counts(events, -1, last + 1).tolist()
    assert (
        fitted(RecentPopularity(), events).final_scores().tolist()
        == expected_counts(events, last - 7, last + 1).tolist()
    )


def test_a_user_counts_once_and_times_keep_their_order() -> None:
    model = fitted(Popularity(), [(0, 1, 0), (0, 1, 1), (1, 1, 2)])
    assert model.scores(np.array([3, 1, 2, 0]) * SECONDS_A_DAY)[:, 1] == pytest.approx([2, 1, 1, -np.inf])
