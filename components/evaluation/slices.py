"""Parts of the targets that a mean hides: users by the length of their history, items by group. Masks (T,) by name."""

from collections.abc import Mapping

import numpy as np

from components.evaluation.exposure import COLD
from components.settings import EvaluationSettings


def user_slices(history_sizes: np.ndarray, settings: EvaluationSettings) -> dict[str, np.ndarray]:
    """Cold users, heavy users and all others. history_sizes: events of the user before the target (T,)."""
    cold, heavy = history_sizes < settings.cold_user_events, history_sizes >= settings.heavy_user_events
    return {"cold users": cold, "other users": ~cold & ~heavy, "heavy users": heavy & ~cold}


def item_slices(targets: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """targets: item rows (T,), -1 where the catalogue lacks the item, which is cold then; groups: masks (n,) by name,
    see `item_groups`."""
    known = targets >= 0
    return {name: np.where(known, mask[targets], name == COLD) for name, mask in groups.items()}
