"""Re-ranking: diversity, category cap, tail share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ranking.rerank import rerank

SCORES = np.array([1.0, 0.9, 0.5, 0.0])
TEXTS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
CATEGORIES = [["black"], ["black"], ["white"], ["black", "white"]]


def test_without_rules_candidates_are_ordered_by_score() -> None:
    assert rerank(SCORES, TEXTS, CATEGORIES, 3) == [0, 1, 2]


def test_diversity_demotes_a_duplicate() -> None:
    """By hand, weight 0.5: after 0, the duplicate has 0.45 - 0.5 = -0.05, item 2 has 0.25 - 0, item 3 has 0 - 0.3."""
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, diversity=0.5) == [0, 2, 1, 3]


def test_full_diversity_still_begins_with_the_best() -> None:
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, diversity=1.0)[0] == 0


def test_a_cap_holds_for_each_category_of_an_item() -> None:
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, category_cap=1) == [0, 2]


def test_a_short_list_continues_with_more_candidates() -> None:
    """Of the first two candidates the cap allows one black square; two more candidates fill the second position."""
    short = rerank(SCORES[:2], TEXTS[:2], CATEGORIES[:2], 2, category_cap=1)
    assert short == [0]
    assert rerank(SCORES, TEXTS, CATEGORIES, 2, category_cap=1, above=short) == [0, 2]
    assert rerank(SCORES, TEXTS, CATEGORIES, 3, diversity=0.5, above=[3]) == [3, 0, 1]


def test_nothing_to_rank() -> None:
    assert rerank(np.zeros(0), np.zeros((0, 2)), [], 3, diversity=0.5) == []


def test_the_tail_gets_its_share_of_every_prefix() -> None:
    """Half of the first 2 and of the first 4 positions: the best tail item is second, the next one fourth."""
    tail = np.array([False, False, True, True])
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, tail=tail, tail_share=0.5) == [0, 2, 1, 3]
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, tail=tail, tail_share=1.0) == [2, 3]
    assert rerank(SCORES, TEXTS, CATEGORIES, 4, tail=tail, tail_share=0.0) == [0, 1, 2, 3]


@given(st.lists(st.booleans(), max_size=30), st.floats(0, 1), st.integers(1, 30))
def test_no_prefix_holds_less_than_the_tail_share(tail: list[bool], share: float, k: int) -> None:
    scores, mask = np.arange(len(tail), 0.0, -1.0), np.array(tail, dtype=bool)
    chosen = rerank(scores, np.zeros((len(tail), 2)), [[]] * len(tail), k, tail=mask, tail_share=share)
    shown = np.cumsum(mask[chosen])
    assert all(shown[place] >= int(share * (place + 1)) for place in range(len(chosen)))
    assert len(chosen) == min(k, len(tail)) or not mask[list(set(range(len(tail))) - set(chosen))].any()


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
@given(data=st.data())
def test_lists_are_full_unless_the_cap_forbids_and_caps_hold(diversity: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    scores = np.sort(np.array(data.draw(st.lists(st.floats(-5, 5), min_size=count, max_size=count))))[::-1]
    texts = np.array(
        data.draw(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=count, max_size=count))
    ).reshape(count, 2)
    categories = data.draw(st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=count, max_size=count))
    k, cap = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 3))
    chosen = rerank(scores, texts, categories, k, diversity=diversity, category_cap=cap)
    used = Counter(name for position in chosen for name in set(categories[position]))
    assert len(set(chosen)) == len(chosen) <= k
    if cap:
        assert max(used.values(), default=0) <= cap
        left = set(range(count)) - set(chosen)
        assert len(chosen) == k or all(any(used[name] >= cap for name in set(categories[p])) for p in left)
    else:
        assert len(chosen) == min(k, count)
