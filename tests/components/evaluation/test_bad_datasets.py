"""Unusual dataset folders: each is trained and ranked, or raises an error that says what is missing."""

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from components.core.errors import DuotempoError
from components.evaluation.offline import evaluate_folder
from components.settings import Settings
from tests.support import colours
from tests.support.datasets import LAST

ITEMS = 20
Frames = tuple[pd.DataFrame, pd.DataFrame | None]


def interactions(users: int = 24, visits: int = 8, **columns: Any) -> pd.DataFrame:
    """Interactions of users who each visit items of one colour, one event per hour."""
    rows = [
        (f"u{user:02}", f"i{item:02}", LAST - 3600 * (visits - step) - user)
        for user, item, step in colours.visits(users, ITEMS, visits)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return frame.assign(**{"event": "like", "value": np.nan, **columns})


def item_table(items: int = ITEMS) -> pd.DataFrame:
    """Items whose text contains their colour."""
    return pd.DataFrame(
        {
            "item_id": [f"i{number:02}" for number in range(items)],
            "title": [f"{('garden', 'kitchen')[number % 2]} tool {number}" for number in range(items)],
            "category": [("outdoor", "indoor")[number % 2] for number in range(items)],
        }
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def evaluate(tmp_path: Path, cache: Path) -> Any:
    """Evaluates events and items under a split with a small model; the product's metrics without the timings."""
    torch.set_num_threads(1)

    def run(events: pd.DataFrame, items: pd.DataFrame | None, split: str = "loo") -> dict[str, Any]:
        folder = tmp_path / f"shop{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        events.to_parquet(folder / "interactions.parquet", index=False)
        if items is not None:
            items.to_parquet(folder / "items.parquet", index=False)
        settings = Settings(cache=cache)
        settings.fusion = settings.fusion.model_copy(update={"width": 16, "blocks": 1, "window": 8, "epochs": 1})
        settings.evaluation.bootstrap = 20
        figures = evaluate_folder(folder, split, settings)
        assert figures["test_users"] > 0
        return {name: value for name, value in figures["models"]["duotempo"].items() if not name.endswith("_s")}

    return run


ODD: dict[str, Frames] = {
    "one user": (interactions(users=1), item_table()),
    "one item": (interactions(item_id="i00"), item_table(1)),
    "two items": (interactions().assign(item_id=lambda frame: frame["item_id"].str[:2] + "0"), item_table(11)),
    "no items file": (interactions(), None),
    "no text": (interactions(), item_table()[["item_id"]]),
    "no category": (interactions(), item_table().drop(columns="category")),
    "empty categories": (interactions(), item_table().assign(category="")),
    "the same text everywhere": (interactions(), item_table().assign(title="tool", category="tools")),
    "one timestamp": (interactions(timestamp=LAST), item_table()),
    "only views": (interactions(event="view"), item_table()),
    "only top ratings": (interactions(event="rating", value=5.0), item_table()),
    "every event twice": (pd.concat([interactions(), interactions()]), item_table()),
    "text of one letter": (interactions(), item_table().assign(title="x", category=None)),
}


@pytest.mark.parametrize(("events", "items"), ODD.values(), ids=ODD)
def test_an_odd_folder_is_trained_and_ranked(evaluate: Any, events: pd.DataFrame, items: pd.DataFrame | None) -> None:
    figures = evaluate(events, items)
    assert 0 <= figures["ndcg@10"] <= figures["hr@10"] <= 1
    assert 0 <= figures["coverage@10"] <= ITEMS


def test_ids_of_200_characters_change_no_figure(evaluate: Any) -> None:
    def lengthened(frame: pd.DataFrame) -> pd.DataFrame:
        ids = [name for name in ("user_id", "item_id") if name in frame]
        return frame.assign(**{name: frame[name].str.rjust(200, "x") for name in ids})

    assert evaluate(lengthened(interactions()), lengthened(item_table())) == evaluate(interactions(), item_table())


def test_constant_low_ratings_are_no_dislikes(evaluate: Any) -> None:
    """A source without stars: a constant value is treated like a missing one."""
    assert evaluate(interactions(event="rating", value=1.0), item_table()) == evaluate(
        interactions(event="rating"), item_table()
    )


TIMES = np.arange(len(interactions())) + LAST
NEEDS: dict[str, tuple[pd.DataFrame, str, str]] = {
    "only hidden items": (interactions(event="hide"), "loo", "positive"),
    "one timestamp": (interactions(timestamp=LAST), "temporal", "both sides of the 0.9 quantile"),
    "one timestamp, rolling": (interactions(timestamp=LAST), "rolling", "more than one time"),
    "one item": (interactions(item_id="i00"), "rolling", "new to its user"),
    "two events a user": (interactions(visits=2), "loo", "at least 3 events"),
    "one event a user before the cut": (
        pd.concat([interactions(visits=1), interactions(visits=1).tail(1).assign(item_id="i19", timestamp=LAST)]),
        "temporal", "two events",
    ),
    "an empty id": (interactions().assign(item_id=""), "loo", "no id"),
    "an id that is too long": (interactions(item_id="x" * 201), "loo", "200"),
}  # fmt: skip


@pytest.mark.parametrize(("events", "split", "needed"), NEEDS.values(), ids=NEEDS)
def test_an_unusable_folder_says_what_it_needs(evaluate: Any, events: pd.DataFrame, split: str, needed: str) -> None:
    with pytest.raises(DuotempoError, match=needed):
        evaluate(events, item_table(), split)


@pytest.mark.long
def test_100_000_items_train_with_sampled_negatives_in_bounded_memory(evaluate: Any) -> None:
    """A single dense item-item matrix would take 40 GB."""
    before = peak_bytes()
    items = pd.DataFrame({"item_id": [f"i{number:02}" for number in range(100_000)]})
    figures = evaluate(interactions(users=12), items)
    assert figures["hr@10"] > 0
    assert peak_bytes() - before < 2e9


def peak_bytes() -> int:
    """The peak memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
