"""Who is shown, by hand."""

import numpy as np
import pytest

from components.evaluation.exposure import exposure, exposure_by_users, item_groups
from components.evaluation.ranking import rank_served
from components.evaluation.results import ModelResult
from components.histories.states import UserState
from components.ranking.rerank import in_tail
from components.ranking.scorer import Scorer
from components.settings import RankingSettings
from tests.support.toy_data import tiny_bundle

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


def test_what_each_slice_of_the_users_is_shown() -> None:
    """The first user is shown the head alone, the other two the tail and, second, a cold item: 1 and 1 / log2 3."""
    lists = np.array([[0, -1], [1, 3], [2, 4]])
    users = {"few": np.array([True, False, False]), "many": np.array([False, True, True]), "nobody": np.zeros(3, bool)}
    found = exposure_by_users(
        [ModelResult.of("x", lists, np.zeros(3, int))], users, item_groups(POPULARITY, CATEGORIES)
    )
    second = 1 / np.log2(3)
    assert list(found) == ["few", "many"]
    assert {group: given["x"] for group, given in found["few"].items()} == {
        "head items": 1.0, "tail items": 0.0, "cold items": 0.0,
    }  # fmt: skip
    assert found["many"]["tail items"]["x"] == pytest.approx(1 / (1 + second))
    assert found["many"]["cold items"]["x"] == pytest.approx(second / (1 + second))


def test_lists_as_served_give_the_tail_its_share_and_leave_out_what_was_seen() -> None:
    bundle, random = tiny_bundle(), np.random.default_rng(0)
    histories = [random.choice(40, size, replace=False) for size in (0, 3, 8)]
    states = [UserState(h, np.arange(len(h), dtype=float), np.ones(len(h), np.float32), 1e9) for h in histories]
    scorer, tail = Scorer(bundle), in_tail(bundle.items["popularity"].to_numpy())
    plain = rank_served(scorer, states, RankingSettings(), 10)
    served = rank_served(scorer, states, RankingSettings(tail_share=0.9), 10)
    assert (tail[served].sum(axis=1) >= 9).all()
    assert tail[served].sum() > tail[plain].sum()
    for history, row in zip(histories, served, strict=True):
        assert not set(history) & set(row)
