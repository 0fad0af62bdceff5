"""How much each event of a history weighs in its collaborative part."""

import math

import numpy as np

LEAST = 1e-8
"""Relative weight below which an event is lost in float32 rounding."""


def reach(recency: float, history: int) -> int:
    """How many of the latest events of a history weigh anything."""
    return min(history, 1 + math.ceil(math.log(LEAST) / math.log(recency)))


def recency_weights(signals: np.ndarray, recency: float) -> np.ndarray:
    """signals (B, H), left-padded with 0, times recency^(events since): what an event weighs in a history."""
    return signals * np.float32(recency) ** np.arange(signals.shape[1] - 1, -1, -1, dtype=np.float32)
