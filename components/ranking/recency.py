"""How much each event of a history weighs in its collaborative part."""

import numpy as np


def recency_weights(signals: np.ndarray, recency: float) -> np.ndarray:
    """signals (B, H), left-padded with 0, times recency^(events since): what an event weighs in a history."""
    return signals * np.float32(recency) ** np.arange(signals.shape[1] - 1, -1, -1, dtype=np.float32)
