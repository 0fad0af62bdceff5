"""Parts of the targets that a mean hides: cold and heavy users; cold, head and tail items."""

import numpy as np

from components.ranking.tail import in_tail
from components.settings import EvaluationSettings


def slices(
    history_sizes: np.ndarray, targets: np.ndarray, popularity: np.ndarray, settings: EvaluationSettings
) -> dict[str, np.ndarray]:
    """Boolean masks (T,) by name.

    history_sizes: events of the user before the target (T,); targets: item rows (T,), -1 where the catalogue lacks the
    item; popularity: training events of each item (n,).
    """
    cold = (targets < 0) | (popularity[targets] == 0)
    tail = in_tail(popularity)[targets]
    return {
        "cold users": history_sizes < settings.cold_user_events,
        "heavy users": history_sizes >= settings.heavy_user_events,
        "head items": ~cold & ~tail,
        "tail items": ~cold & tail,
        "cold items": cold,
    }
