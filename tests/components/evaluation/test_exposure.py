"""Exposure of item groups, checked by hand."""

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


def test_exposure_is_discounted_by_rank() -> None:
    """Two lists: item 0 twice at rank 1 (exposure 1 each), items 1 and 3 at rank 2 (1 / log2 3 each)."""
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


def test_exposure_by_user_slice() -> None:
    """The first user is shown only the head, the other two the tail, then a cold item: 1 and 1 / log2 3."""
    lists = np.array([[0, -1], [1, 3], [2, 4]])
    users = {"few": np.array([True, False, False]), "many": np.array([False, True, True]), "nobody": np.zeros(3, bool)}
    shares = exposure_by_users(
        [ModelResult.of("x", lists, np.zeros(3, int))], users, item_groups(POPULARITY, CATEGORIES)
    )
    second = 1 / np.log2(3)
    assert list(shares) == ["few", "many"]
    assert {group: values["x"] for group, values in shares["few"].items()} == {
        "head items": 1.0, "tail items": 0.0, "cold items": 0.0,
    }  # fmt: skip
    assert shares["many"]["tail items"]["x"] == pytest.approx(1 / (1 + second))
    assert shares["many"]["cold items"]["x"] == pytest.approx(second / (1 + second))


def test_served_lists_keep_the_tail_share_and_exclude_seen_items() -> None:
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
