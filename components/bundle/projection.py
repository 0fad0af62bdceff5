"""From an item's text vector to what the item tower reads."""

import numpy as np


def project(texts: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(texts - mean) @ matrix, zero where there is no text."""
    known = (np.abs(texts).sum(axis=1) > 0)[:, None]
    return (np.where(known, texts - mean, 0) @ matrix).astype(np.float32)
