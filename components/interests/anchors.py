"""The moments as of which a person's documents are written."""

import pandas as pd

from components.core.columns import Columns

FIRST, GROWTH = 8, 4


def anchors(events: pd.DataFrame, cut: pd.Timestamp, per_user: int) -> pd.DataFrame:
    """The anchors of every user with an event before the cut: DataFrame[user_id, as_of], sorted; `as_of` is exclusive.

    They are the times of a user's events number 8, 32, 128, 512, ..., the last `per_user` of those that exist, and the
    cut. Times of earlier anchors stay when the history grows, so that document vectors in the cache stay good.
    """
    cut = pd.Timestamp(cut)
    past = events.loc[events[Columns.OCCURRED_AT] < cut, [Columns.USER, Columns.OCCURRED_AT]]
    past = past.sort_values([Columns.USER, Columns.OCCURRED_AT])
    number = past.groupby(Columns.USER).cumcount() + 1
    marks = past[number.isin(_milestones(len(past)))].groupby(Columns.USER).tail(per_user)
    ends = pd.DataFrame({Columns.USER: past[Columns.USER].unique()}).assign(**{Columns.OCCURRED_AT: cut})
    ends[Columns.OCCURRED_AT] = ends[Columns.OCCURRED_AT].astype(past[Columns.OCCURRED_AT].dtype)
    found = pd.concat([marks, ends]).drop_duplicates().sort_values([Columns.USER, Columns.OCCURRED_AT])
    return found.rename(columns={Columns.OCCURRED_AT: Columns.AS_OF}).reset_index(drop=True)


def _milestones(limit: int) -> list[int]:
    milestones = [FIRST]
    while milestones[-1] < limit:
        milestones.append(milestones[-1] * GROWTH)
    return milestones
