"""Dataset folders: interactions.parquet, items.parquet (optional) and dataset.json (optional)."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from duckdb import DuckDBPyConnection

from components.core.columns import Columns
from components.datasets.opened_files import EVENTS_IN, ITEMS_IN, InputFiles, open_files
from components.files.connection import connect
from components.files.errors import DatasetError

EVENT_FILE = "interactions.parquet"
ITEM_FILE = "items.parquet"
DESCRIPTION_FILE = "dataset.json"
ITEM_TEXT = (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION)
_EVENTS = "user_id, item_id, timestamp, event, TRY_CAST(value AS DOUBLE) AS value, text"


@dataclass(frozen=True)
class Dataset:
    """Raw events and items in memory, for evaluation.

    Attributes:
        events: user_id, item_id, timestamp (epoch seconds), event, value, text.
        items: item_id, and title, description, category, … if the source has them; only item_id when the items were
            derived from the events.
        text: The item columns that may be used as text.
    """

    name: str
    events: pd.DataFrame
    items: pd.DataFrame
    text: tuple[str, ...] = ITEM_TEXT


def dataset_files(folder: Path) -> InputFiles:
    """The files of a dataset folder. Raises DatasetError when it is none."""
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is no folder; `duotempo data list` shows the datasets that can be fetched by name"
        )
    if not (folder / EVENT_FILE).is_file():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise DatasetError(
            f"{folder} holds no {EVENT_FILE} (found: {found}); other files are read by `duotempo ingest FILE`"
        )
    items = folder / ITEM_FILE
    # a description serves for item texts only
    without = {Columns.DESCRIPTION} - set(_text_columns(folder / DESCRIPTION_FILE))
    return InputFiles(folder / EVENT_FILE, items if items.is_file() else None, without=without)


def read_folder(folder: Path) -> Dataset:
    """Reads a dataset folder into memory. Raises DatasetError."""
    inputs = dataset_files(folder)
    with TemporaryDirectory() as scratch, connect(Path(scratch)) as connection:
        opened = open_files(connection, inputs)
        if opened.questions:
            raise DatasetError(f"{folder}: " + "; ".join(map(str, opened.questions)))
        _check_rows(connection, inputs)
        events = connection.execute(f"SELECT {_EVENTS} FROM {EVENTS_IN} ORDER BY row").df()
        items = connection.execute(f"SELECT * EXCLUDE (row, raw, reject) FROM {ITEMS_IN} ORDER BY row").df()
    return Dataset(folder.resolve().name, events, items, _text_columns(folder / DESCRIPTION_FILE))


def _check_rows(connection: DuckDBPyConnection, inputs: InputFiles) -> None:
    for view, file in ((EVENTS_IN, inputs.events), (ITEMS_IN, inputs.items)):
        if found := connection.execute(f"SELECT row, reject FROM {view} WHERE reject IS NOT NULL LIMIT 1").fetchone():
            raise DatasetError(f"{file}, row {found[0] + 1}: {found[1]}")


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
