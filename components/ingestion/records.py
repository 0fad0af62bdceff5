"""Between frames and rows."""

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
    """Each row by the names of the columns, with None for whatever is absent."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(frame.columns, row, strict=True))


def as_frame(rows: Sequence[EventRow] | Sequence[ItemRow], kind: type[EventRow] | type[ItemRow]) -> pd.DataFrame:
    """The rows of a kind as an events frame, or an items frame."""
    frame = pd.DataFrame(rows, columns=list(kind._fields))
    return frame.astype({name: dtype for name, dtype in _TYPES.items() if name in frame})
