"""Raw input rows, before cleaning."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from components.datasets.sources import Dataset

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def raw_events(rows: Sequence[tuple[object, ...]], **columns: Any) -> pd.DataFrame:
    """A frame of rows (user, item, timestamp, event), with additional columns."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"], dtype=object)
    return frame.assign(**columns)


def shop(events: pd.DataFrame, items: list[str] | None = None) -> Dataset:
    """A dataset with these items, by default all items of the events, each with a title."""
    ids = sorted(set(events["item_id"])) if items is None else items
    catalogue = pd.DataFrame({"item_id": ids, "title": [f"Title of {item}" for item in ids], "category": "a|b"})
    return Dataset("shop", events, catalogue)
