"""Small dataset folders."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

LAST = 1_717_200_000
"""2024-06-01 00:00 UTC."""


DAY = 86_400


def world(users: int = 24, items: int = 20, visits: int = 8) -> pd.DataFrame:
    """Interactions of users who each go through items of one parity, an hour between two events."""
    random = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{2 * (place % (items // 2)) + user % 2}", LAST - DAY * (step % 20) - 3600 * step - user, "like")
        for user in range(users)
        for step, place in enumerate(random.permutation(items // 2)[:visits])
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"]).assign(value=np.nan)


def catalogue(items: int = 20) -> pd.DataFrame:
    """Items whose text tells their parity."""
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
    """A dataset folder."""
    folder.mkdir(parents=True)
    events.to_parquet(folder / "interactions.parquet", index=False)
    (catalogue() if items is None else items).to_parquet(folder / "items.parquet", index=False)
    if text is not None:
        (folder / "dataset.json").write_text(json.dumps({"text": text}))
    return folder
