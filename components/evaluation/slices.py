"""Parts of the targets that a mean hides: cold users, cold items, heavy users."""

import numpy as np

from components.settings import EvaluationSettings


def slices(
    history_sizes: np.ndarray, targets: np.ndarray, trained: np.ndarray, settings: EvaluationSettings
) -> dict[str, np.ndarray]:
    """Boolean masks (T,) by name.

    history_sizes: events of the user before the target (T,); targets: item rows (T,), -1 where the catalogue lacks the
    item; trained: items with a training event, bool (n,).
    """
    return {
        "cold users": history_sizes < settings.cold_user_events,
        "heavy users": history_sizes >= settings.heavy_user_events,
        "cold items": (targets < 0) | ~trained[targets],
    }
