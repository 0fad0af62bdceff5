import pandas as pd

from components.interests.build import anchors
from tests.support.interests import CUT, event, history


def many(user: str, count: int, last_days_ago: float = 1) -> pd.DataFrame:
    return history(*(event(user, "d1", last_days_ago + count - number) for number in range(1, count + 1)))


def days_ago(result: pd.DataFrame) -> list[float]:
    return [(CUT - moment).total_seconds() / 86_400 for moment in result["as_of"]]


def test_anchors_are_the_times_of_events_8_32_128_and_the_cut() -> None:
    result = anchors(many("ann", 130), CUT, 3)
    assert days_ago(result) == [123, 99, 3, 0]
    assert set(result["user_id"]) == {"ann"}


def test_the_last_ones_are_kept() -> None:
    assert days_ago(anchors(many("ann", 130), CUT, 2)) == [99, 3, 0]
    assert days_ago(anchors(many("ann", 130), CUT, 0)) == [0]


def test_a_short_history_has_the_cut_only() -> None:
    result = anchors(many("ann", 7), CUT, 3)
    assert result["as_of"].tolist() == [CUT]
    assert result["as_of"].dtype == "datetime64[us, UTC]"


def test_anchors_stay_where_they_are_when_the_history_grows() -> None:
    events = many("ann", 130)
    earlier = CUT - pd.Timedelta(days=50)
    before = anchors(events, earlier, 3)["as_of"].tolist()[:-1]
    assert before == anchors(events, CUT, 3)["as_of"].tolist()[: len(before)]


def test_events_at_or_after_the_cut_count_for_nothing() -> None:
    early = many("ann", 7)
    late = history(event("ann", "d1", 0), event("ann", "d1", -1), event("eve", "d1", 0))
    pd.testing.assert_frame_equal(anchors(pd.concat([early, late]), CUT, 3), anchors(early, CUT, 3))


def test_events_of_one_moment_give_one_anchor() -> None:
    result = anchors(history(*(event("ann", f"d{n % 3 + 1}", 5) for n in range(40))), CUT, 3)
    assert days_ago(result) == [5, 0]


def test_no_events_give_no_anchors() -> None:
    assert anchors(history(), CUT, 3).empty
