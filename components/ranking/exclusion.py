"""What is not shown to a user again, by what they did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.core.columns import Columns
from components.histories.signals import RATED
from components.settings import EventSettings, RankingSettings

if TYPE_CHECKING:  # the service, which starts sooner without it, asks for one event at a time
    import pandas as pd


@dataclass(frozen=True)
class Exclusion:
    """kinds: events after which an item is not shown again. below: a rating or a review under this value is one of
    them, whatever its kind."""

    kinds: frozenset[str]
    below: float

    @classmethod
    def of(cls, ranking: RankingSettings, events: EventSettings) -> Exclusion:
        kinds = {*ranking.exclude_seen, *(["hide"] if ranking.exclude_hidden else [])}
        disliked = ranking.exclude_disliked
        return cls(frozenset(kinds | {"dislike"} if disliked else kinds), events.dislike_below if disliked else -np.inf)

    def holds(self, event: str, value: float | None) -> bool:
        """Whether an event keeps its item from the user."""
        return event in self.kinds or (event in RATED and value is not None and value < self.below)

    def mask(self, events: pd.DataFrame) -> np.ndarray:
        """bool (n,): `holds` of each row of an events frame."""
        low = events[Columns.EVENT].isin(RATED) & (events[Columns.VALUE] < self.below)
        return (events[Columns.EVENT].isin(self.kinds) | low).to_numpy()

    def rows(self, events: pd.DataFrame, row: Mapping[str, int]) -> dict[str, np.ndarray]:
        """By user, int64 rows of what is not shown again; row: by item, those that are not in it are left out."""
        met = events.loc[self.mask(events) & events[Columns.ITEM].isin(row.keys()), [Columns.USER, Columns.ITEM]]
        found = met[Columns.ITEM].map(row).astype("int64")
        return {str(user): np.unique(rows) for user, rows in found.groupby(met[Columns.USER])}
