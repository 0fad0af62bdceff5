"""Which training pairs are built, sampled and split."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.adaptation.errors import AdaptationError
from components.adaptation.pairs import Pairs, make_pairs, split_validation
from components.settings import AdaptationSettings, EventSettings

CUT = datetime(2024, 6, 1, tzinfo=UTC)
NOBODY = pd.DataFrame(
    {"user_id": [], "as_of": pd.Series([], dtype="datetime64[us, UTC]"), "document_long": [], "document_short": []}
)


def events(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    """Events from (user, item, hours after the cut, event)."""
    moments = pd.to_datetime([CUT + timedelta(hours=hours) for _, _, hours, _ in rows], utc=True).as_unit("us")
    frame = pd.DataFrame([(user, item, kind) for user, item, _, kind in rows], columns=["user_id", "item_id", "event"])
    return frame.assign(occurred_at=moments, value=np.nan)


def catalogue(titles: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"item_id": list(titles), "title": list(titles.values()), "description": "", "category": [[] for _ in titles]}
    )


def interests(*rows: tuple[str, float, str, str]) -> pd.DataFrame:
    """Documents from (user, hours after the cut, D_l, D_s)."""
    moments = pd.to_datetime([CUT + timedelta(hours=hours) for _, hours, _, _ in rows], utc=True).as_unit("us")
    frame = pd.DataFrame(
        [(user, long, short) for user, _, long, short in rows], columns=["user_id", "document_long", "document_short"]
    )
    return frame.assign(as_of=moments)


ITEMS = catalogue({"a": "apple", "b": "bread", "c": "cheese", "d": "dates", "a2": "apple", "mute": ""})


def pairs_of(history: pd.DataFrame, documents: pd.DataFrame = NOBODY, seed: int = 0, **settings: Any) -> Pairs:
    adaptation = AdaptationSettings(**settings)
    return make_pairs(history, ITEMS, documents, EventSettings(), adaptation, cut=pd.Timestamp(CUT), seed=seed)


def text_pairs(pairs: Pairs) -> set[tuple[str, str]]:
    rows = zip(pairs.queries, pairs.positives, strict=True)
    return {(pairs.texts[query], pairs.texts[positive]) for query, positive in rows}


def test_an_item_is_paired_with_the_next_items_of_the_same_user() -> None:
    history = events(
        ("u", "c", -7, "like"), ("u", "a", -9, "like"), ("v", "d", -8.5, "like"), ("u", "b", -8, "view")
    )  # fmt: skip
    assert text_pairs(pairs_of(history)) == {("apple", "bread"), ("apple", "cheese"), ("bread", "cheese")}
    assert text_pairs(pairs_of(history, following=1)) == {("apple", "bread"), ("bread", "cheese")}


def test_late_and_negative_events_make_no_pair() -> None:
    history = events(
        ("u", "a", -80, "like"), ("u", "b", -70, "dislike"), ("u", "c", -60, "like"), ("u", "d", -20, "like")
    )  # fmt: skip
    assert text_pairs(pairs_of(history, within_days=1)) == {("apple", "cheese")}


def test_events_and_documents_after_the_cut_are_excluded() -> None:
    history = events(("u", "a", -2, "like"), ("u", "b", -1, "like"), ("u", "c", 0, "like"), ("u", "d", 1, "like"))
    documents = interests(("u", -1.5, "early", ""), ("u", 0.5, "late", ""))
    assert text_pairs(pairs_of(history, documents)) == {("apple", "bread"), ("early", "bread")}


def test_a_document_is_paired_with_items_strictly_after_its_anchor() -> None:
    history = events(("u", "a", -4, "like"), ("u", "b", -3, "like"), ("u", "c", -2, "like"), ("v", "d", -1, "like"))
    pairs = text_pairs(pairs_of(history, interests(("u", -3, "long of u", "short of u"), ("w", -3, "of w", ""))))
    assert pairs == {
        ("apple", "bread"), ("apple", "cheese"), ("bread", "cheese"),
        ("long of u", "cheese"), ("short of u", "cheese"),
    }  # fmt: skip


def test_equal_texts_and_items_without_text_make_no_pair() -> None:
    history = events(("u", "a", -4, "like"), ("u", "a2", -3, "like"), ("u", "mute", -2, "like"), ("u", "b", -1, "like"))
    pairs = pairs_of(history)
    assert text_pairs(pairs) == {("apple", "bread")}
    assert len(pairs) == 1, "two items with the same text make one pair per user"


def test_above_the_limit_a_seeded_sample_is_drawn() -> None:
    history = events(*[(f"u{user}", item, -9 + at, "like") for user in range(9) for at, item in enumerate("abcd")])
    assert len(pairs_of(history)) == 9 * 6
    first, again, other = (pairs_of(history, max_pairs=20, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 20
    np.testing.assert_array_equal(first.queries, again.queries)
    np.testing.assert_array_equal(first.users, again.users)
    assert not np.array_equal(first.users * 9 + first.queries, other.users * 9 + other.queries)


@pytest.mark.parametrize(("limit", "documents"), [(4, 2), (20, 6), (100, 6)])
def test_half_of_a_sample_are_documents_if_there_are_enough(limit: int, documents: int) -> None:
    history = events(*[(f"u{user}", item, -9 + at, "like") for user in range(3) for at, item in enumerate("abcd")])
    rows = interests(*[(f"u{user}", -7.5, f"about u{user}", "") for user in range(3)])
    pairs = pairs_of(history, rows, max_pairs=limit)
    assert len(pairs) == min(limit, 3 * 6 + 6)
    assert sum(pairs.texts[row].startswith("about") for row in pairs.queries) == documents


def test_positives_of_the_query_and_its_own_text_are_masked() -> None:
    pairs = Pairs(["a", "b", "c", "d"], np.array([0, 0, 2]), np.array([1, 2, 3]), np.array([0, 0, 1]))
    is_positive = pairs.is_positive(np.array([0, 2, 1]), np.array([1, 2, 3]))
    assert is_positive.tolist() == [[True, True, False], [False, True, True], [True, False, False]]


def test_the_validation_split_is_by_user() -> None:
    history = events(*[(f"u{user}", item, -9 + at, "like") for user in range(9) for at, item in enumerate("abcd")])
    training, validation = split_validation(pairs_of(history), 0.3, seed=0)
    assert len(np.unique(validation.users)) == 3
    assert not set(training.users) & set(validation.users)
    assert len(training) + len(validation) == 9 * 6


def test_insufficient_data_is_refused() -> None:
    alone = events(("u", "a", -2, "like"), ("v", "b", -1, "like"))
    with pytest.raises(AdaptationError, match=r"no pair in 2 positive events.*WITHIN_DAYS"):
        pairs_of(alone)
    with pytest.raises(AdaptationError, match="none of the 1 items has a text"):
        make_pairs(
            alone, catalogue({"a": ""}), NOBODY, EventSettings(), AdaptationSettings(), cut=pd.Timestamp(CUT), seed=0
        )
    one_user = pairs_of(events(("u", "a", -3, "like"), ("u", "b", -2, "like"), ("u", "c", -1, "like")))
    with pytest.raises(AdaptationError, match="two users"):
        split_validation(one_user, 0.5, seed=0)
