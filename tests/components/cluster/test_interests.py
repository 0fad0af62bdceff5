"""A cluster builds the same interests as one process."""

import numpy as np
import pandas as pd
import pytest

from components.cluster.interests import build_interests_on_cluster
from components.core.columns import Columns as C
from components.interests.build import anchors, build_interests
from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords
from components.interests.profile import Keywords
from components.settings import EventSettings, InterestSettings
from tests.support import interests as toy_interests

pytestmark = pytest.mark.long
SETTINGS = InterestSettings(document_events=2)
PEOPLE = 60


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    """Histories of 1 to 40 events, some with text."""
    rng = np.random.default_rng(0)
    rows = [
        toy_interests.event(
            f"u{user}", str(item), float(days), "rating", float(stars), "much liked" if stars > 4 else None
        )
        for user in range(PEOPLE)
        for size in [int(rng.integers(1, 41))]
        for item, days, stars in zip(
            rng.choice(list(toy_interests.TITLES), size),
            rng.uniform(0, 90, size),
            rng.integers(1, 6, size),
            strict=True,
        )
    ]
    return toy_interests.history(*rows)


@pytest.fixture(scope="module")
def keywords() -> Keywords:
    return extract_keywords(item_texts(toy_interests.catalogue()), SETTINGS.item_keywords)


def test_rows_and_order_equal_those_of_one_process(events: pd.DataFrame, keywords: Keywords, address: str) -> None:
    moments = anchors(events, toy_interests.CUT, per_user=3)
    strangers = moments.iloc[:2].assign(**{C.USER: ["nobody", "a stranger"]})
    for requested in (moments, pd.concat([strangers, moments]).sample(frac=1, random_state=0), moments.iloc[:0]):
        arguments = (events, toy_interests.catalogue(), requested, keywords, SETTINGS, EventSettings())
        local = build_interests(*arguments)
        pd.testing.assert_frame_equal(build_interests_on_cluster(*arguments, address), local)
        assert not len(requested) or local[C.DOCUMENT_LONG].ne("").sum() > PEOPLE / 2


def test_an_unknown_item_raises_the_same_error_as_in_one_process(
    events: pd.DataFrame, keywords: Keywords, address: str
) -> None:
    invalid_events = events.assign(**{C.ITEM: events[C.ITEM].replace("d1", "nobody knows")})
    moments = anchors(invalid_events, toy_interests.CUT, per_user=1)
    with pytest.raises(ValueError, match=r"unknown items such as 'nobody knows'"):
        build_interests_on_cluster(
            invalid_events, toy_interests.catalogue(), moments, keywords, SETTINGS, EventSettings(), address
        )
