import numpy as np

from components.evaluation.slices import slices
from components.settings import EvaluationSettings


def test_masks_by_history_and_by_training():
    settings = EvaluationSettings(cold_user_events=5, heavy_user_events=100)
    masks = slices(np.array([0, 4, 5, 99, 100]), np.array([0, 1, -1, 1, 0]), np.array([3, 0]), settings)
    assert masks["cold users"].tolist() == [True, True, False, False, False]
    assert masks["heavy users"].tolist() == [False, False, False, False, True]
    assert masks["cold items"].tolist() == [False, True, True, True, False]
    assert masks["head items"].tolist() == [True, False, False, False, True]
    assert not masks["tail items"].any()
