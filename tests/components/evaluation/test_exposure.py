"""Who is shown, by hand."""

import numpy as np
import pytest

from components.evaluation.exposure import exposure, item_groups
from components.evaluation.results import ModelResult
from components.ranking.tail import in_tail

POPULARITY = np.array([8, 1, 1, 0, 0])
CATEGORIES = [["a"], ["a", "b"], ["b"], ["b"], []]


def test_the_head_is_a_fifth_of_the_items() -> None:
    assert in_tail(POPULARITY).tolist() == [False, True, True, True, True]
    assert in_tail(np.array([1, 1, 1, 1, 1])).tolist() == [False, True, True, True, True]
    assert in_tail(np.array([])).tolist() == []


def test_groups_are_the_head_the_tail_the_cold_and_the_categories() -> None:
    groups = {name: np.flatnonzero(mask).tolist() for name, mask in item_groups(POPULARITY, CATEGORIES).items()}
    assert groups == {
        "head items": [0], "tail items": [1, 2], "cold items": [3, 4], "category b": [1, 2, 3], "category a": [0, 1],
    }  # fmt: skip


def test_a_place_is_worth_what_its_rank_says() -> None:
    """Two lists: item 0 twice on the first place (1 each), item 1 and item 3 on the second (1 / log2 3 each)."""
    lists = np.array([[0, 1, -1], [0, 3, -1]])
    shown = exposure([ModelResult.of("x", lists, np.array([0, 1]))], POPULARITY, item_groups(POPULARITY, CATEGORIES))
    second = 1 / np.log2(3)
    assert shown["head items"] == {"items": 0.2, "events": 0.8, "models": {"x": pytest.approx(2 / (2 + 2 * second))}}
    assert shown["cold items"]["models"]["x"] == pytest.approx(second / (2 + 2 * second))
    assert shown["tail items"]["events"] == 0.2


def test_a_group_without_items_is_left_out() -> None:
    lists = np.array([[0]])
    shown = exposure([ModelResult.of("x", lists, np.array([0]))], np.ones(1), item_groups(np.ones(1), [[]]))
    assert list(shown) == ["head items"]
