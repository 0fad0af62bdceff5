"""What an event says about an item: how strongly, and for it or against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.core.columns import Columns
from components.settings import EventSettings

if TYPE_CHECKING:  # the service, which starts sooner without it, asks for one signal at a time
    import pandas as pd

RATED = ("rating", "review")


def signal(event: str, value: float | None, settings: EventSettings) -> float:
    """The signed weight of one event, as in `signals`."""
    signed = settings.weights[event] * settings.signs[event]
    disliked = event in RATED and value is not None and value < settings.dislike_below
    return -abs(signed) if disliked else signed


def signals(events: pd.DataFrame, settings: EventSettings) -> np.ndarray:
    """The signed weight of each event, float32 (n,): weight x sign, and negative for a rating or a review whose value
    lies under `settings.dislike_below`.

    Raises ValueError naming an event kind that the settings do not know.
    """
    kinds = events[Columns.EVENT].astype(object)
    signed = kinds.map({kind: weight * settings.signs[kind] for kind, weight in settings.weights.items()})
    if signed.isna().any():
        unknown = kinds[signed.isna()].iloc[0]
        raise ValueError(f"unknown event {unknown!r}: the events are {', '.join(settings.weights)}; map it at ingest")
    result = signed.to_numpy(dtype=np.float32)
    disliked = kinds.isin(RATED) & (events[Columns.VALUE] < settings.dislike_below)
    return np.where(disliked, -np.abs(result), result)
