"""Frames of raw and of cleaned rows."""

import json
from collections.abc import Iterator, Sequence

import pandas as pd

from components.core.columns import Columns
from components.store.rows import EventRow, ItemRow

_TYPES = {
    Columns.VALUE: "float64",
    Columns.OCCURRED_AT: "datetime64[us, UTC]",
    Columns.PUBLISHED_AT: "datetime64[us, UTC]",
}


def records(frame: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yields each row as a dict by column, with None for missing values."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(frame.columns, row, strict=True))


def as_frame(rows: Sequence[EventRow] | Sequence[ItemRow], kind: type[EventRow] | type[ItemRow]) -> pd.DataFrame:
    """Converts cleaned rows to an events or items frame; attributes are JSON."""
    frame = pd.DataFrame(rows, columns=list(kind._fields))
    if Columns.ATTRIBUTES in frame:
        frame[Columns.ATTRIBUTES] = frame[Columns.ATTRIBUTES].map(json.dumps)
    return frame.astype({name: dtype for name, dtype in _TYPES.items() if name in frame})
