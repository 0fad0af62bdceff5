"""Loads frames and files through the path of `duotempo ingest`."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from components.core.columns import Columns
from components.datasets.opened_files import InputFiles, OpenedFiles, open_files
from components.datasets.sources import Dataset
from components.files.connection import connect
from components.ingestion.load_files import JudgedFiles, LoadReport, judge_files, load_files
from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.settings import Settings


class IngestReport(NamedTuple):
    """Counts of a load."""

    accepted: int
    duplicates: int
    rejected: dict[str, int]
    items_added: int
    items_updated: int


@dataclass(frozen=True)
class Loaded:
    """What became of files."""

    opened: OpenedFiles
    judged: JudgedFiles
    report: LoadReport


def load(
    engine: Engine,
    inputs: InputFiles,
    settings: Settings | None = None,
    *,
    source: str = "test",
    now: datetime,
    mapping: Mapping | None = None,
    answers: Mapping | None = None,
) -> Loaded:
    """Loads files, with the mapping that is proposed if there is no other."""
    settings = settings or Settings()
    with TemporaryDirectory() as folder, connect(Path(folder)) as connection:
        opened = open_files(connection, inputs, mapping=mapping, answers=answers)
        judged = judge_files(connection, opened, settings, source=source, now=now, engine=engine)
        return Loaded(opened, judged, load_files(connection, opened, judged, engine, settings, source=source))


def ingest(engine: Engine, dataset: Dataset, settings: Settings, *, source: str, now: datetime) -> IngestReport:
    """Loads the frames of a dataset, as JSON lines."""
    with TemporaryDirectory() as folder:
        events, items = Path(folder) / "events.jsonl", Path(folder) / "items.jsonl"
        derived = set(dataset.items.columns) == {Columns.ITEM}
        without = {Columns.DESCRIPTION} - set(dataset.text)
        if len(dataset.events):
            write_json_lines(events, dataset.events)
        if not derived:
            write_json_lines(items, dataset.items)
        inputs = InputFiles(events if len(dataset.events) else None, None if derived else items, without=without)
        report = load(engine, inputs, settings, source=source, now=now, answers=_in_seconds(dataset.events)).report
    return IngestReport(
        report.accepted, report.duplicates, dict(report.rejected), report.items_added, report.items_updated
    )


def write_json_lines(file: Path, frame: pd.DataFrame) -> None:
    """Writes a frame as JSON lines, each value as it stands."""
    lines = [json.dumps({name: _plain(value) for name, value in row.items()}) for row in _rows(frame)]
    file.write_text("\n".join(lines) + "\n")


def _in_seconds(events: pd.DataFrame) -> Mapping | None:
    """The rule for times that are numbers: even small ones are epoch seconds."""
    if not any(isinstance(time, int | float | np.number) for time in events.get(Columns.TIMESTAMP, ())):
        return None
    return Mapping(RoleMapping({Columns.TIMESTAMP: ColumnRule(Columns.TIMESTAMP, {"format": "seconds"})}))


def _rows(frame: pd.DataFrame) -> Sequence[dict[str, Any]]:
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
