import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.exposure import item_groups, item_slices, user_slices
from components.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cold_user_events=5, heavy_user_events=100)


def test_users_by_their_history() -> None:
    masks = user_slices(np.array([0, 4, 5, 99, 100]), SETTINGS)
    assert masks["cold users"].tolist() == [True, True, False, False, False]
    assert masks["other users"].tolist() == [False, False, True, True, False]
    assert masks["heavy users"].tolist() == [False, False, False, False, True]


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(0, 150), st.integers(1, 150))
def test_each_user_is_in_one_slice(sizes: list[int], cold: int, heavy: int) -> None:
    masks = user_slices(np.array(sizes, int), EvaluationSettings(cold_user_events=cold, heavy_user_events=heavy))
    assert (np.sum(list(masks.values()), axis=0) == 1).all()


def test_targets_by_item_group_with_unknown_items_cold() -> None:
    groups = item_groups(np.array([3, 0]), [["a"], ["a", "b"]])
    masks = item_slices(np.array([0, 1, -1, 1, 0]), groups)
    assert masks["cold items"].tolist() == [False, True, True, True, False]
    assert masks["head items"].tolist() == [True, False, False, False, True]
    assert not masks["tail items"].any()
    assert masks["category a"].tolist() == [True, True, False, True, True]
    assert masks["category b"].tolist() == [False, True, False, True, False]
