"""Reads datasets from files or folders as raw events and items with Duotempo's column names."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from components.core.columns import EVENTS, Columns
from components.core.ids import clean_id
from components.core.normalize import MAX_EPOCH_SECONDS
from components.core.timestamps import epoch_seconds
from components.datasets.files import DatasetError, join_names, read_rows

EVENT_FILE = "interactions.parquet"
ITEM_FILE = "items.parquet"
DESCRIPTION_FILE = "dataset.json"
ITEM_TEXT = (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION)

_REQUIRED_EVENT_COLUMNS = (Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT)
_EVENT_TYPES: dict[str, tuple[type, ...]] = {
    Columns.USER: (str, int, float),
    Columns.ITEM: (str, int, float),
    Columns.EVENT: (str,),
    Columns.TIMESTAMP: (str, int, float, date, Decimal),
    Columns.VALUE: (int, float, Decimal),
    Columns.TEXT: (str,),
}
_ITEM_TYPES: dict[str, tuple[type, ...]] = {
    Columns.ITEM: (str, int, float),
    Columns.TITLE: (str,),
    Columns.DESCRIPTION: (str,),
    Columns.CATEGORY: (str, list, np.ndarray),
}


@dataclass(frozen=True)
class Dataset:
    """Raw events and items, the input of `components.ingestion.clean`.

    Attributes:
        events: user_id, item_id, timestamp, event, and further columns of the source.
        items: item_id, and title, description, category if the source has them; only item_id when the items were
            derived from the events.
        text: The item columns that may be used as text.
    """

    name: str
    events: pd.DataFrame
    items: pd.DataFrame
    text: tuple[str, ...] = ITEM_TEXT


def read_folder(path: Path) -> Dataset:
    """Reads a dataset folder: interactions.parquet, items.parquet (optional) and dataset.json (optional).

    Raises DatasetError.
    """
    if not path.is_dir():
        raise DatasetError(f"{path} is no folder; `duotempo data list` shows the datasets that can be fetched by name")
    if not (path / EVENT_FILE).is_file():
        found = ", ".join(sorted(file.name for file in path.iterdir())) or "nothing"
        raise DatasetError(
            f"{path} holds no {EVENT_FILE} (found: {found}); other files are read by "
            "`duotempo ingest --events FILE --items FILE`"
        )
    items = path / ITEM_FILE
    dataset = read_files(path / EVENT_FILE, items if items.is_file() else None, {})
    return replace(dataset, name=path.resolve().name, text=_text_columns(path / DESCRIPTION_FILE))


def read_files(events: Path, items: Path | None, mapping: Mapping[str, str]) -> Dataset:
    """Reads events and items from .csv, .tsv, .parquet or .jsonl files, by their extension.

    Args:
        items: Without it the items are the item ids of the events.
        mapping: Our column name to the file's, for both files; `events.NAME` and `items.NAME` apply to one of them.
            `event` may also map to an event type (`event=rating`), which then applies to every row.

    Raises:
        DatasetError: A file cannot be read, lacks a column, or has one of the wrong type.
    """
    event_frame = _renamed(read_rows(events), mapping, "events")
    event_name = mapping.get("events.event", mapping.get(Columns.EVENT))
    if Columns.EVENT not in event_frame and event_name in EVENTS:
        event_frame[Columns.EVENT] = event_name
    _check_columns(event_frame, events, _REQUIRED_EVENT_COLUMNS, _EVENT_TYPES)
    if items is None:
        ids = dict.fromkeys(map(clean_id, event_frame[Columns.ITEM].tolist()))
        item_frame = pd.DataFrame({Columns.ITEM: [item for item in ids if item is not None]}, dtype=object)
    else:
        item_frame = _renamed(read_rows(items), mapping, "items")
        _check_columns(item_frame, items, (Columns.ITEM,), _ITEM_TYPES)
    return Dataset(events.stem, event_frame, item_frame)


def shift_to(dataset: Dataset, last: datetime) -> tuple[Dataset, int]:
    """Shifts all times by a constant so that the last event is at `last` (timezone-aware).

    Times that cannot be parsed stay unchanged. Returns the dataset and the shift in whole seconds. Raises DatasetError
    when no time can be parsed.
    """
    seconds = epoch_seconds(dataset.events[Columns.TIMESTAMP])
    credible = seconds[(seconds >= 0) & (seconds < MAX_EPOCH_SECONDS)]
    if not len(credible):
        raise DatasetError(f"{dataset.name}: no timestamp can be read; epoch seconds or ISO 8601 are needed")
    shift = int(last.timestamp() - credible.max())
    events, items = (
        frame.assign(**{name: _shifted(frame[name], shift)}) if name in frame else frame
        for frame, name in ((dataset.events, Columns.TIMESTAMP), (dataset.items, Columns.PUBLISHED_AT))
    )
    return replace(dataset, events=events, items=items), shift


def _shifted(times: pd.Series, shift: int) -> pd.Series:
    if pd.api.types.is_numeric_dtype(times.dtype):
        return times + shift
    seconds = epoch_seconds(times)
    return times.astype(object).where(np.isnan(seconds), seconds + shift)


def _text_columns(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        return ITEM_TEXT
    try:
        text = json.loads(file.read_text(encoding="utf-8")).get("text", ITEM_TEXT)
    except (ValueError, AttributeError) as error:
        raise DatasetError(f'{file} is not a JSON object ({error}); it looks like {{"text": ["title"]}}') from error
    if not isinstance(text, list | tuple) or not set(text) <= set(ITEM_TEXT):
        raise DatasetError(f"{file}: `text` is {text!r}; it is a list of some of {', '.join(ITEM_TEXT)}")
    return tuple(text)


def _renamed(frame: pd.DataFrame, mapping: Mapping[str, str], role: str) -> pd.DataFrame:
    """Renames the mapped columns that this file has; existing columns with a new name are dropped."""
    general = {name: column for name, column in mapping.items() if "." not in name}
    own = {name.split(".", 1)[1]: column for name, column in mapping.items() if name.startswith(f"{role}.")}
    used = {name: column for name, column in {**general, **own}.items() if column in frame and column != name}
    return frame.drop(columns=[name for name in used if name in frame]).rename(
        columns={column: name for name, column in used.items()}
    )


def _check_columns(
    frame: pd.DataFrame, file: Path, required: Collection[str], types: Mapping[str, tuple[type, ...]]
) -> None:
    """Raises DatasetError for a missing required column, or a known column whose first value has the wrong type."""
    found = join_names(frame.columns)
    for column in required:
        if column not in frame:
            constant = " (or --map event=rating: every row is one)" if column == Columns.EVENT else ""
            raise DatasetError(f"{file}: no column {column}; found {found}. Name it: --map {column}=COLUMN{constant}")
    if file.suffix.lower() in (".csv", ".tsv"):
        return
    for column, allowed in types.items():
        value = next(iter(frame.get(column, pd.Series()).dropna().tolist()), None)
        if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
            names = ", ".join(kind.__name__ for kind in allowed)
            raise DatasetError(f"{file}: column {column} holds {type(value).__name__}, it needs one of {names}")
