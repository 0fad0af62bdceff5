"""Impressions and the feedback on them, in memory and in Postgres."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
from sqlalchemy import Engine

from components.ingestion.clean import clean_events, clean_items
from components.ingestion.frames import records
from components.settings import Settings
from components.store.analytics import EXPOSURE_COLUMNS, FEEDBACK_COLUMNS
from components.store.impressions import ServedList, record_impressions
from components.store.load import append_events, upsert_items
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy

NOW = datetime(2024, 6, 1, tzinfo=UTC)
CATEGORIES = ("home", "play")

ShownItem = tuple[str, float] | tuple[str, float, bool]
"""(item, propensity, greedy); without `greedy`, an item with propensity 1 counts as greedy."""


def with_greedy(shown: ShownItem) -> tuple[str, float, bool]:
    """(item, propensity, greedy), with the default for `greedy`."""
    item, propensity, *greedy = shown
    return item, propensity, bool(greedy[0]) if greedy else propensity == 1.0


def exposures(
    answers: Sequence[tuple[str, str, Sequence[ShownItem]]], variant: str = "champion", version: str = "1"
) -> pd.DataFrame:
    """Impressions (request, user, items) as `read_exposures` returns them; scores fall by 0.1 per rank."""
    rows: list[tuple[object, ...]] = [
        (request, user, version, variant, item, float(rank), 1 - rank / 10, propensity, greedy)
        for request, user, items in answers
        for rank, (item, propensity, greedy) in enumerate(map(with_greedy, items), start=1)
    ]
    rows += [(request, user, version, variant, *[None] * 5) for request, user, items in answers if not items]
    return pd.DataFrame(rows, columns=EXPOSURE_COLUMNS, dtype=object).astype(
        {"rank": "float64", "score": "float64", "propensity": "float64"}
    )


def feedback(*rows: tuple[str, str, str, float | None]) -> pd.DataFrame:
    """Events (request, item, type, value) as `read_feedback` returns them."""
    return pd.DataFrame(rows, columns=FEEDBACK_COLUMNS, dtype=object).astype({"value": "float64"})


def show(
    engine: Engine, request: str, user: str, items: Sequence[ShownItem], *, days_ago: float = 1.0,
    variant: str = "champion", version: str = "1", now: datetime = NOW,
) -> None:  # fmt: skip
    """Stores an impression, as the service does."""
    shown = [
        {"item_id": item, "rank": rank, "score": 1 - rank / 10, "propensity": propensity, "greedy": greedy}
        for rank, (item, propensity, greedy) in enumerate(map(with_greedy, items), start=1)
    ]
    served_at = now - timedelta(days=days_ago)
    ensure_partitions(engine.begin, [served_at], "impressions")
    with engine.begin() as connection:
        served = ServedList(request, user, version, variant, served_at, shown)
        record_impressions(connection, Privacy(Settings()), [served])


def store_feedback(engine: Engine, rows: Sequence[tuple[object, ...]], now: datetime = NOW) -> None:
    """Stores events (user, item, type, days ago, request, value), and their items i0, i1, … in two categories."""
    raw = pd.DataFrame(rows, columns=["user_id", "item_id", "event", "days", "request_id", "value"], dtype=object)
    raw["timestamp"] = [(now - timedelta(days=days)).timestamp() for days in raw.pop("days")]
    ids = sorted(set(raw["item_id"]))
    items = pd.DataFrame({"item_id": ids, "category": [CATEGORIES[int(item[1:]) % 2] for item in ids]})
    cleaned = clean_events(records(raw), source="feedback", settings=Settings().events, known_items=ids, now=now)
    assert not cleaned.rejected
    with engine.begin() as connection:
        upsert_items(connection, clean_items(records(items), source="test").rows)
        append_events(connection, cleaned.rows)
