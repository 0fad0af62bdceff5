"""Small dataset folders."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.colours import visits

LAST = 1_717_200_000
"""2024-06-01 00:00 UTC."""


DAY = 86_400


def toy_events(users: int = 24) -> pd.DataFrame:
    """Eight likes per user on items of one colour, a day and an hour apart."""
    rows = [
        (f"u{user}", f"i{item}", LAST - (DAY + 3600) * step - user, "like") for user, item, step in visits(users, 20, 8)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"]).assign(value=np.nan)


def catalogue(items: int = 20) -> pd.DataFrame:
    """Items whose text reveals their colour."""
    return pd.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(items)],
            "title": [f"{('garden', 'kitchen')[number % 2]} tool {number}" for number in range(items)],
            "category": [("outdoor", "indoor")[number % 2] for number in range(items)],
            "description": "",
        }
    )


def write_dataset(
    folder: Path, events: pd.DataFrame, items: pd.DataFrame | None = None, text: list[str] | None = None
) -> Path:
    """Writes a dataset folder; `text` names its text columns in dataset.json."""
    folder.mkdir(parents=True)
    events.to_parquet(folder / "interactions.parquet", index=False)
    (catalogue() if items is None else items).to_parquet(folder / "items.parquet", index=False)
    if text is not None:
        (folder / "dataset.json").write_text(json.dumps({"text": text}))
    return folder
