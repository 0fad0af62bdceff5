"""Small histories for the tests of interests."""

from collections.abc import Sequence

import pandas as pd

from components.interests.build import build_interests
from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords
from components.settings import EventSettings, InterestSettings

CUT = pd.Timestamp("2024-06-01", tz="UTC")
TITLES = {
    "d1": ("Quiet Harvest", "drama"), "d2": ("Harvest Moon", "drama"), "d3": ("Old Harvest", "drama"),
    "t1": ("Night Detective", "thriller"), "t2": ("Detective Two", "thriller"), "t3": ("Last Detective", "thriller"),
    "s1": ("Galaxy Patrol", "space"), "s2": ("Galaxy Gate", "space"), "s3": ("Lost Galaxy", "space"),
    "c1": ("绿茶礼盒", "茶叶"), "c2": ("红茶礼盒", "茶叶"),
}  # fmt: skip
Row = tuple[str, str, str, float, float | None, str | None]


def catalogue() -> pd.DataFrame:
    """Items d1 to d3 are harvest dramas, t1 to t3 detective thrillers, s1 to s3 space films, c1 and c2 are tea."""
    return pd.DataFrame(
        {
            "item_id": list(TITLES),
            "title": [title for title, _ in TITLES.values()],
            "description": "",
            "category": [[category] for _, category in TITLES.values()],
        }
    )


def event(
    user: str, item: str, days_ago: float, kind: str = "like", value: float | None = None, text: str | None = None
) -> Row:
    return user, item, kind, days_ago, value, text


def history(*rows: Row) -> pd.DataFrame:
    """An events frame, sorted by time; days count back from CUT."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "event", "days_ago", "value", "text"])
    seconds = pd.to_timedelta(frame.pop("days_ago").astype(float) * 86_400, unit="s")
    frame["occurred_at"] = (CUT - seconds).astype("datetime64[us, UTC]")
    return frame.astype({"value": "float64", "text": object}).sort_values(
        "occurred_at", kind="stable", ignore_index=True
    )


def interests(
    events: pd.DataFrame, users: Sequence[str] = ("ann",), as_of: pd.Timestamp = CUT, **settings: float
) -> pd.DataFrame:
    """The interests of these users as of `as_of`."""
    anchors = pd.DataFrame(
        {"user_id": list(users), "as_of": pd.Series([as_of] * len(users), dtype="datetime64[us, UTC]")}
    )
    items = catalogue()
    chosen = InterestSettings.model_validate({"document_events": 1, **settings})
    keywords = extract_keywords(item_texts(items), chosen.item_keywords)
    return build_interests(events, items, anchors, keywords, chosen, EventSettings())
