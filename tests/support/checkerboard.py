"""Toy training data with a known answer: each user likes the squares of one colour of a checkerboard."""

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse

from components.core.columns import Columns
from components.fusion.fit import Fitted, fit
from components.fusion.fusions import FUSIONS
from components.fusion.inputs import Catalogue
from components.histories.sequences import Documents, Sequences
from components.settings import Settings
from tests.support.colours import visits

ITEMS = 40
USERS = 120
DIMENSION = 16
CUT = datetime(2024, 6, 1, tzinfo=UTC)
BLACK = np.arange(ITEMS) % 2 == 0
KINDS = list(
    dict.fromkeys([*FUSIONS, "docs.examples.own_fusion:Multiplied", os.environ.get("DUOTEMPO_FUSION__KIND", "gated")])
)
"""Fusions under the contract tests: the packaged ones, the tutorial's, and the one that the environment names."""


def settings(kind: str = "gated", **fusion: object) -> Settings:
    """Settings of a training that takes seconds; `fusion` overrides fields of `fusion`."""
    chosen = Settings()
    chosen.fusion = chosen.fusion.model_copy(
        update={
            "kind": kind, "width": 16, "blocks": 1, "window": 8, "batch_size": 32, "epochs": 8, "validate_every": 2,
            "learning_rate": 5e-3, "dropout": 0.1, **fusion,
        }
    )  # fmt: skip
    return chosen


def events(seed: int = 0) -> pd.DataFrame:
    """Each user's likes of squares of one colour, one per hour, in random order, sorted by time."""
    rows = [
        (f"u{user}", f"i{item}", "like", CUT - timedelta(hours=20 - step, minutes=user))
        for user, item, step in visits(USERS, ITEMS, (5, 16), seed)
    ]
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.EVENT, Columns.OCCURRED_AT])
    frame[Columns.OCCURRED_AT] = frame[Columns.OCCURRED_AT].astype("datetime64[us, UTC]")
    frame = frame.assign(value=np.nan, text=None)
    return frame.sort_values(Columns.OCCURRED_AT, kind="stable", ignore_index=True)


def catalogue(order: NDArray[np.int64] | None = None, seed: int = 0) -> Catalogue:
    """Items whose text vectors encode the colour, with noise; `order` permutes the rows."""
    rng = np.random.default_rng(seed)
    colour = np.zeros((2, DIMENSION), dtype=np.float32)
    colour[0, 0] = colour[1, 1] = 1.0
    texts = colour[BLACK.astype(int)] + rng.normal(0, 0.2, (ITEMS, DIMENSION)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    order = np.arange(ITEMS) if order is None else order
    items = pd.DataFrame(
        {
            Columns.ITEM: [f"i{row}" for row in order],
            Columns.TITLE: [f"square {row}" for row in order],
            Columns.CATEGORY: [["black" if BLACK[row] else "white"] for row in order],
            Columns.AVAILABLE: True,
            Columns.PUBLISHED_AT: pd.NaT,
        }
    )
    keywords = sparse.csr_matrix(np.column_stack([BLACK, ~BLACK])[order].astype(np.float32))
    return Catalogue(items, texts[order], keywords, ["black", "white"], "planted")


def documents(seed: int = 0) -> Documents:
    """One document per user, as of ten hours before the cut: the mean text vector of their colour, with noise.

    Its vectors have the shape (users, 2, DIMENSION): long-term and short-term.
    """
    rng = np.random.default_rng(seed)
    vectors = np.zeros((USERS, 2, DIMENSION), dtype=np.float32)
    for user in range(USERS):
        vectors[user, :, 0 if user % 2 else 1] = 1.0
    vectors += rng.normal(0, 0.05, vectors.shape).astype(np.float32)
    moment = (CUT - timedelta(hours=10)).timestamp()
    return Documents(np.array([f"u{u}" for u in range(USERS)], dtype=object), np.full(USERS, moment), vectors)


def fitted(chosen: Settings, order: NDArray[np.int64] | None = None, **options: Any) -> Fitted:
    """Trains on the board with one thread; `options` are passed on to `fit`."""
    torch.set_num_threads(1)
    return fit(events(), catalogue(order), documents(), chosen, cut=CUT, held_out="last", **options)


@cache
def trained(kind: str = "gated") -> Fitted:
    """A training with default settings, cached for all tests of a process; they must not modify it."""
    return fitted(settings(kind))


def sequences(lengths: list[int], signals: NDArray[np.float32] | None = None) -> Sequences:
    """Histories of these lengths, one per user, with consecutive items and times."""
    total = sum(lengths)
    return Sequences(
        users=np.array([f"u{n}" for n in range(len(lengths))], dtype=object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.arange(total),
        times=np.arange(total, dtype=np.float64),
        signals=np.ones(total, np.float32) if signals is None else signals,
        anchors=np.full(total, -1),
    )
