"""Loads what is new in a source of the settings, without a person to ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine

from components.core.errors import DuotempoError
from components.datasets.opened_files import InputFiles, OpenedFiles, open_files
from components.files.connection import connect
from components.files.errors import DatasetError
from components.ingestion.load_files import JudgedFiles, LoadReport, judge_files, load_files
from components.mapping.mapping_file import mapping_text, read_mapping
from components.mapping.source import MappingError
from components.settings import Settings
from components.sources.batch import fetch_batch, remove_batch
from components.sources.configured import configured_source, mapping_file, source_settings
from components.sources.source import Fetched
from components.store.watermarks import move_watermark, read_watermark


class IngestRefused(DuotempoError):
    """A source's rows are not stored: it is not clear how to read them, or too many would be rejected."""


REFUSALS = (IngestRefused, DatasetError, MappingError)
"""Errors after which fetched rows are of no use; after others the next run continues with them."""


@dataclass(frozen=True)
class SourceLoad:
    """What became of a source's rows; `left_out` counts those that its mapping leaves out."""

    report: LoadReport
    left_out: Mapping[str, int]


def batch_folder(settings: Settings, name: str) -> Path:
    """Where the fetched rows of a source lie until they are loaded."""
    return settings.home.expanduser().absolute() / "ingest" / name


def fetch_source(settings: Settings, name: str, engine: Engine) -> Fetched:
    """Fetches what is new in a source since its watermark; a killed run's rows are kept.

    Raises:
        SourceError: The source cannot be fetched.
        StoreError: Postgres cannot be used.
    """
    source = configured_source(settings, name)
    since = read_watermark(engine, name) if source.is_incremental else None
    return fetch_batch(source, batch_folder(settings, name), since)


def inputs_of(settings: Settings, name: str, path: Path) -> InputFiles:
    """The fetched file of a source, with its role if the settings say it."""
    role = source_settings(settings, name).role
    if role is None:
        return InputFiles(unknown=[path])
    return InputFiles(events=path) if role == "events" else InputFiles(items=path)


def moving_watermark(name: str, fetched: Fetched) -> Callable[[Connection, int], None]:
    """What completes the load of a source: its watermark moves in the same transaction."""

    def move(store: Connection, load_id: int) -> None:
        if fetched.watermark is not None:
            move_watermark(store, name, fetched.watermark, load_id)

    return move


def load_source(settings: Settings, name: str, fetched: Fetched, engine: Engine, now: datetime) -> SourceLoad:
    """Judges and stores fetched rows, moves the watermark, and removes the rows from this machine's disk.

    A killed run leaves the rows where they are, and the next one continues with them.

    Args:
        fetched: By `fetch_source`, with a path.
        now: Timezone-aware.

    Raises:
        IngestRefused: It is not clear how to read the rows, or more of them than `ingest.max_rejected_share` would be
            rejected; nothing is stored.
        DatasetError: The fetched file cannot be read.
        MappingError: The mapping does not fit the rows.
        StoreError: Postgres cannot be used; the next run continues.
    """
    assert fetched.path is not None
    folder = batch_folder(settings, name)
    try:
        with (
            TemporaryDirectory(dir=folder, prefix="reading-") as scratch,
            connect(Path(scratch), settings.ingest.memory_mb) as connection,
        ):
            inputs, mapping = inputs_of(settings, name, fetched.path), mapping_file(settings, name)
            if mapping is None or not mapping.is_file():
                raise _unmapped(name, mapping, open_files(connection, inputs))
            opened = open_files(connection, inputs, mapping=read_mapping(mapping))
            judged = judge_files(connection, opened, settings, source=name, now=now, engine=engine)
            _check_rejected(name, judged, settings.ingest.max_rejected_share)
            report = load_files(
                connection, opened, judged, engine, settings, source=name, at_completion=moving_watermark(name, fetched)
            )
    except REFUSALS:
        remove_batch(folder)  # the same rows would be refused again
        raise
    remove_batch(folder)
    return SourceLoad(report, judged.events.left_out)


def _unmapped(name: str, mapping: Path | None, opened: OpenedFiles) -> IngestRefused:
    """The error for a source without a mapping, with the lines that one would have."""
    missing = f"its mapping {mapping} does not exist" if mapping is not None else "it has no mapping"
    questions = [
        f"# {question.what}" + (f"\n{question.line}  # in [{question.role}]" if question.line else "")
        for question in opened.questions
    ]
    lines = "\n".join([mapping_text(opened.mapping).rstrip(), *questions])
    return IngestRefused(
        f"{name}: {missing}, so nothing is stored. Write these lines into a file, as `duotempo inspect --from {name}` "
        f'does, look at them, and name it in [ingest.sources.{name}] as mapping = "FILE":\n{lines}'
    )


def _check_rejected(name: str, judged: JudgedFiles, limit: float) -> None:
    if judged.too_many_rejected(limit):
        reasons = ", ".join(f"{code}: {count:,}" for code, count in judged.rejected.items())
        raise IngestRefused(
            f"{name}: {judged.rejected_share:.0%} of the rows would be rejected ({reasons}), more than "
            f"ingest.max_rejected_share, so nothing is stored; correct the source or its mapping. "
            f"`duotempo inspect --from {name}` shows examples"
        )
