import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.interests.build import build_interests
from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords
from components.interests.profile import Keywords
from components.settings import EventSettings, InterestSettings
from tests.support.interests import CUT, TITLES, Row, catalogue, event, history, interests

DRAMA_FOR_YEARS = [event("ann", f"d{n % 3 + 1}", 300 - 10 * n) for n in range(26)]
BURST_OF_SPACE = [event("ann", "s1", 3), event("ann", "s2", 2), event("ann", "s3", 1)]
ROWS = st.lists(
    st.builds(
        event,
        st.just("ann"),
        st.sampled_from(sorted(TITLES)),
        st.integers(-20, 60),
        st.sampled_from(["view", "like", "dislike", "review", "purchase"]),
        st.sampled_from([None, 1.0, 5.0]),
        st.sampled_from([None, "fine words"]),
    ),
    max_size=25,
)


def only(frame: pd.DataFrame) -> pd.Series:
    assert len(frame) == 1
    return frame.iloc[0]


def test_long_holds_the_lasting_interest_and_short_the_burst() -> None:
    row = only(interests(history(*DRAMA_FOR_YEARS, *BURST_OF_SPACE)))
    assert row["long_categories"] == ["drama", "space"]
    assert row["long_keywords"][0] == "harvest"
    assert not {"drama", "space"} & set(row["long_keywords"])
    assert row["long_items"] == ["s3", "s2", "s1", "d2", "d1", "d3"]
    assert row["short_items"] == ["s1", "s2", "s3"]
    assert {"space", "galaxy"} <= set(row["short_keywords"])
    assert "harvest" not in row["short_keywords"]
    assert row["document_long"].startswith("Lasting interests: drama, space. Often about: harvest")
    assert row["document_short"].endswith("Recently: Lost Galaxy; Galaxy Gate; Galaxy Patrol.")


def test_the_old_interest_is_back_once_the_burst_has_left_the_window() -> None:
    events = history(*DRAMA_FOR_YEARS, *BURST_OF_SPACE, event("ann", "d1", -20))
    row = only(interests(events, as_of=CUT + pd.Timedelta(days=21)))
    assert row["short_items"] == ["d1"]
    assert "harvest" in row["short_keywords"] and "galaxy" not in row["short_keywords"]


def test_recent_thrillers_raise_thriller() -> None:
    before = history(*(event("ann", f"d{n}", 200) for n in (1, 2, 3)), event("ann", "t1", 210))
    more = history(event("ann", "t2", 5), event("ann", "t3", 4))
    assert only(interests(before))["long_categories"] == ["drama", "thriller"]
    row = only(interests(pd.concat([before, more])))
    assert row["long_categories"] == ["thriller", "drama"]
    assert row["long_keywords"][0] == "detective"


def test_an_event_counts_half_after_the_half_life() -> None:
    old, new = [event("ann", "d1", 61)], [event("ann", "t1", 1)]
    twice, thrice = [event("ann", "d2", 61)], [event("ann", "d2", 61), event("ann", "d3", 61)]
    assert only(interests(history(*old, *new)))["long_categories"] == ["thriller", "drama"]
    assert only(interests(history(*old, *twice, *new)))["long_categories"] == ["drama", "thriller"]  # equal: by name
    assert only(interests(history(*old, *thrice, *new)))["long_categories"] == ["drama", "thriller"]
    assert only(interests(history(*old, *thrice, *new), half_life_days=20))["long_categories"] == ["thriller", "drama"]


@pytest.mark.parametrize("kind", ["dislike", "hide"])
def test_a_dislike_lowers(kind: str) -> None:
    liked = [event("ann", "d1", 9), event("ann", "d2", 9), event("ann", "t1", 9)]
    before = only(interests(history(*liked)))
    after = only(interests(history(*liked, event("ann", "d2", 8, kind), event("ann", "d3", 8, kind))))
    assert before["long_categories"] == ["drama", "thriller"]
    assert after["long_categories"] == ["thriller"]
    assert after["long_items"] == ["t1", "d1"] and "d2" not in after["short_items"]
    assert "Harvest Moon" not in after["document_long"] + after["document_short"]
    assert "harvest" in before["short_keywords"] and "harvest" not in after["short_keywords"]


def test_favourites_are_the_items_rated_highest() -> None:
    rated = [event("ann", "d1", 3, "rating", 5), event("ann", "t1", 3, "rating", 2), event("ann", "s1", 3, "rating", 4)]
    assert (
        "Favourites: Quiet Harvest; Galaxy Patrol; Night Detective."
        in only(interests(history(*rated)))["document_long"]
    )


def test_the_window_is_by_days_and_by_count() -> None:
    rows = [event("ann", "d1", 15), event("ann", "d2", 14), event("ann", "t1", 2), event("ann", "s1", 1)]
    assert only(interests(history(*rows), short_days=14))["short_items"] == ["d2", "t1", "s1"]
    assert only(interests(history(*rows), short_items=2))["short_items"] == ["t1", "s1"]
    assert only(interests(history(*rows), long_items=2))["long_items"] == ["s1", "t1"]


def test_a_repeated_item_occurs_once_at_its_last_position() -> None:
    row = only(interests(history(event("ann", "d1", 3, "view"), event("ann", "t1", 2), event("ann", "d1", 1, "cart"))))
    assert row["short_items"] == ["t1", "d1"]
    assert row["long_items"] == ["d1", "t1"]


def test_a_users_texts_are_in_the_documents_while_in_the_window() -> None:
    old = event("ann", "d1", 90, "review", 5, "slow and lovely")
    new = event("ann", "t1", 2, "comment", None, "what a chase")
    row = only(interests(history(old, new)))
    assert row["document_long"].endswith("In their words: what a chase; slow and lovely.")
    assert row["document_short"].endswith("In their words: what a chase.")


def test_chinese_titles_and_words_stay_as_they_are() -> None:
    row = only(interests(history(event("ann", "c1", 2), event("ann", "c2", 1))))
    assert row["long_categories"] == ["茶叶"]
    assert "礼盒" in row["long_keywords"]
    assert "Recently: 红茶礼盒; 绿茶礼盒" in row["document_short"]


def test_without_positive_events_documents_are_empty() -> None:
    frame = interests(history(event("bob", "d1", 2, "dislike"), event("ann", "d1", 40)), ["bob", "ann", "eve"])
    assert frame["document_long"].tolist()[0] == frame["document_long"].tolist()[2] == ""
    assert frame["document_long"].tolist()[1] != ""
    assert frame["document_short"].tolist() == ["", "", ""]
    assert frame["short_items"].tolist() == [[], [], []]
    assert interests(history(), []).empty


def test_an_inactive_user_keeps_the_same_long_document() -> None:
    events = history(*DRAMA_FOR_YEARS, *BURST_OF_SPACE)
    later = [only(interests(events, as_of=CUT + pd.Timedelta(days=days)))["document_long"] for days in (0, 30, 3000)]
    assert later[0] == later[1] == later[2]


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(-10, 50))
def test_no_event_at_or_after_the_anchor_enters(rows: list[Row], days_ago: int) -> None:
    as_of = CUT - pd.Timedelta(days=days_ago)
    past = [row for row in rows if row[3] > days_ago]
    everything = history(
        *rows, event("ann", "s1", days_ago), event("ann", "t1", days_ago - 1, "dislike", None, "never")
    )
    pd.testing.assert_frame_equal(interests(everything, as_of=as_of), interests(history(*past), as_of=as_of))


@settings(max_examples=40, deadline=None)
@given(ROWS, ROWS)
def test_other_users_and_the_order_of_rows_do_not_matter(rows: list[Row], others: list[Row]) -> None:
    of_others = [(f"user{number % 3}", *row[1:]) for number, row in enumerate(others)]
    shuffled = history(*rows, *of_others).sample(frac=1, random_state=len(rows))
    pd.testing.assert_frame_equal(interests(shuffled), interests(history(*rows)))


def test_many_anchors_give_what_each_gives_alone() -> None:
    events = history(*DRAMA_FOR_YEARS, *BURST_OF_SPACE, event("bob", "t1", 3), event("bob", "d1", 1, "hide"))
    together = interests(events, ["bob", "ann"])
    pd.testing.assert_frame_equal(together.iloc[[0]], interests(events, ["bob"]))
    pd.testing.assert_frame_equal(together.iloc[[1]].reset_index(drop=True), interests(events, ["ann"]))


def test_an_event_of_an_unknown_item_is_named() -> None:
    with pytest.raises(ValueError, match="'gone'"):
        interests(history(event("ann", "gone", 1)))


def test_keywords_of_other_items_are_refused() -> None:
    items = catalogue()
    keywords: Keywords = extract_keywords(item_texts(items)[:3], 4)
    anchors = pd.DataFrame({"user_id": ["ann"], "as_of": [CUT]})
    with pytest.raises(ValueError, match="3 rows of keywords for 11 items"):
        build_interests(history(), items, anchors, keywords, InterestSettings(), EventSettings())


def test_documents_are_written_from_enough_events_on() -> None:
    events = history(event("ann", "d1", 30), event("ann", "d2", 20), event("bob", "d1", 30))
    frame = interests(events, ["ann", "bob"], document_events=2).set_index("user_id")
    assert frame.loc["ann", "document_long"] and frame.loc["ann", "document_short"] == ""
    assert frame.loc["bob", "document_long"] == ""
    assert frame.loc["bob", "long_items"] == ["d1"]
