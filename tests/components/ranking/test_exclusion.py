"""Exclusion of items, for single events, for a frame, and by user."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from components.core.columns import EVENTS
from components.ranking.filters import Exclusion
from components.settings import EventSettings, RankingSettings

STARS = EventSettings(dislike_below=2.5)
INTERACTIONS = [*((event, None) for event in EVENTS), ("rating", 2.0), ("rating", 3.0), ("review", 2.0)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RankingSettings(), set(INTERACTIONS)),
        (RankingSettings(exclude_hidden=False), set(INTERACTIONS) - {("hide", None)}),
        (RankingSettings(exclude_disliked=False), set(INTERACTIONS) - {("dislike", None)}),
        (RankingSettings(exclude_seen=[]), {("hide", None), ("dislike", None), ("rating", 2.0), ("review", 2.0)}),
        (RankingSettings(exclude_seen=[], exclude_disliked=False), {("hide", None)}),
        (
            RankingSettings(exclude_seen=["purchase"], exclude_hidden=False, exclude_disliked=False),
            {("purchase", None)},
        ),
    ],
)
def test_each_setting_allows_some_items_again(
    settings: RankingSettings, expected: set[tuple[str, float | None]]
) -> None:
    exclusion = Exclusion.of(settings, STARS)
    assert {event for event in INTERACTIONS if exclusion.excludes(*event)} == expected
    frame = pd.DataFrame(INTERACTIONS, columns=["event", "value"]).astype({"value": "float64"})
    assert {event for event, out in zip(INTERACTIONS, exclusion.mask(frame), strict=True) if out} == expected


def test_rows_by_user() -> None:
    events = [("u", "b", "view"), ("u", "a", "view"), ("u", "b", "like"), ("v", "a", "hide"), ("v", "z", "view")]
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "event"]).assign(value=np.nan)
    rows = Exclusion.of(RankingSettings(exclude_hidden=False), STARS).rows(frame, {"a": 0, "b": 1})
    assert {user: excluded.tolist() for user, excluded in rows.items()} == {"u": [0, 1]}


def test_an_event_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValidationError, match="stare: there is no such event"):
        RankingSettings(exclude_seen=["stare", "view"])
