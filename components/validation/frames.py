"""Prepares frames for validation by adding derived columns, such as ages and lengths.

A derived column is left out if its source column is missing; an expectation of the suite reports that.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.columns import Columns
from components.validation.results import ValidationError

FEEDBACK = ("rating", "like", "dislike", "hide")
LIST_COLUMNS = (
    Columns.LONG_KEYWORDS, Columns.LONG_CATEGORIES, Columns.LONG_ITEMS, Columns.SHORT_ITEMS, Columns.SHORT_KEYWORDS,
)  # fmt: skip


@dataclass(frozen=True)
class ValidationContext:
    """The context of a validation.

    Attributes:
        references: Known ids by column (`item_id`, `user_id`).
    """

    cut: datetime
    references: Mapping[str, Collection[str]]

    def known(self, column: str) -> Collection[str]:
        """The known ids of a column. Raises ValidationError when there are none."""
        if column not in self.references:
            raise ValidationError(f"nothing to compare {column} with: pass references={{{column!r}: known ids}}")
        return self.references[column]


def prepare(frames: Mapping[str, pd.DataFrame], context: ValidationContext) -> dict[str, pd.DataFrame]:
    """Adds the derived columns and the frame `feedback` (a subset of the events), and numbers rows from zero."""
    frames = dict(frames)
    if Columns.EVENT in frames.get("events", ()):
        frames["feedback"] = frames["events"][frames["events"][Columns.EVENT].isin(FEEDBACK)]
    return {name: _prepare(name, frame, context) for name, frame in frames.items()}


def embedding_frame(texts: Sequence[str], vectors: NDArray[Any]) -> pd.DataFrame:
    """Builds the frame of the suite `embeddings`: text_hash (sha256), has_text, norm and finite, a row per vector.

    Args:
        texts: (n,)
        vectors: (n, e)

    Raises:
        ValidationError: The numbers of texts and vectors differ.
    """
    if len(texts) != len(vectors):
        raise ValidationError(f"{len(vectors)} vectors for {len(texts)} texts: embed the same texts again")
    return pd.DataFrame(
        {
            "text_hash": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
            "has_text": [bool(text) for text in texts],
            "norm": np.linalg.norm(vectors, axis=1).astype(float),
            "finite": np.isfinite(vectors).all(axis=1),
        }
    )


def _prepare(name: str, frame: pd.DataFrame, context: ValidationContext) -> pd.DataFrame:
    texts = frame.select_dtypes(include=["str", "string", "category"]).columns
    objects = frame.reset_index(drop=True).astype(dict.fromkeys(texts, object))
    derived = {
        column: derive(objects, context)
        for column, (sources, derive) in _DERIVED.get(name, {}).items()
        if set(sources) <= set(objects.columns)
    }
    return objects.assign(**derived)


def _age_days(column: str) -> "DeriveColumn":
    def derive(frame: pd.DataFrame, context: ValidationContext) -> pd.Series:
        times = pd.to_datetime(frame[column], utc=True, errors="coerce", format="ISO8601")
        return (pd.Timestamp(context.cut) - times).dt.total_seconds() / 86_400

    return derive


def _known(column: str) -> "DeriveColumn":
    return lambda frame, context: frame[column].isin(context.known(column))


def _length(column: str) -> "DeriveColumn":
    return lambda frame, _: frame[column].map(_list_length).astype(float)


def _list_length(value: object) -> float:
    return len(value) if isinstance(value, list | tuple | np.ndarray) else np.nan


def _unknown_items(frame: pd.DataFrame, context: ValidationContext) -> pd.Series:
    exploded = pd.concat([frame[column].explode().dropna() for column in (Columns.LONG_ITEMS, Columns.SHORT_ITEMS)])
    unknown = exploded[~exploded.isin(context.known(Columns.ITEM))]
    return unknown.groupby(level=0).size().reindex(frame.index, fill_value=0)


def _has_text(frame: pd.DataFrame, _: ValidationContext) -> pd.Series:
    filled = [frame[column].fillna("").astype(str).str.strip() != "" for column in (Columns.TITLE, Columns.DESCRIPTION)]
    return filled[0] | filled[1] | (frame[Columns.CATEGORY].map(_list_length) > 0)


def _not_empty(column: str) -> "DeriveColumn":
    return lambda frame, _: frame[column].fillna("").astype(str) != ""


DeriveColumn = Callable[[pd.DataFrame, ValidationContext], pd.Series]
_EVENTS: dict[str, tuple[tuple[str, ...], DeriveColumn]] = {
    "age_days": ((Columns.OCCURRED_AT,), _age_days(Columns.OCCURRED_AT)),
    "item_known": ((Columns.ITEM,), _known(Columns.ITEM)),
}
_DERIVED: dict[str, dict[str, tuple[tuple[str, ...], DeriveColumn]]] = {
    "events": _EVENTS,
    "feedback": _EVENTS,
    "items": {
        "category_count": ((Columns.CATEGORY,), _length(Columns.CATEGORY)),
        "has_text": ((Columns.TITLE, Columns.DESCRIPTION, Columns.CATEGORY), _has_text),
    },
    "interests": {
        "age_days": ((Columns.AS_OF,), _age_days(Columns.AS_OF)),
        "user_known": ((Columns.USER,), _known(Columns.USER)),
        "unknown_items": ((Columns.LONG_ITEMS, Columns.SHORT_ITEMS), _unknown_items),
        "has_long": ((Columns.DOCUMENT_LONG,), _not_empty(Columns.DOCUMENT_LONG)),
        **{f"{column}_count": ((column,), _length(column)) for column in LIST_COLUMNS},
    },
}
