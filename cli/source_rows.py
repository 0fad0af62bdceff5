"""The rows of a database or a lake, fetched for one command."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from sqlalchemy import Connection

from cli.console import busy, open_store
from components.datasets.opened_files import InputFiles
from components.ingestion.load_files import nothing_more
from components.ingestion.load_source import REFUSALS, batch_folder, fetch_source, inputs_of, moving_watermark
from components.settings import Settings
from components.settings.data import SOURCE_NAME
from components.sources.batch import remove_batch
from components.sources.configured import configured_source, mapping_file
from components.sources.fetch import fetch
from components.sources.source import Source, SourceError
from components.store.watermarks import exclusive_source


@dataclass(frozen=True)
class SourceRows:
    """Fetched rows.

    Attributes:
        name: Of the rows' origin.
        inputs: None if there is nothing new.
        mapping: The mapping that the settings name.
        at_completion: What completes their load.
        loaded: To be called when they are loaded.
    """

    name: str
    inputs: InputFiles | None
    mapping: Path | None = None
    at_completion: Callable[[Connection, int], None] = nothing_more
    loaded: Callable[[], None] = lambda: None


def is_name(settings: Settings, given: str) -> bool:
    """Whether `--from` names a source of the settings, rather than an address or a path."""
    is_like_one = re.fullmatch(SOURCE_NAME, given) is not None and not Path(given).exists()
    return given in settings.ingest.sources or is_like_one


@contextmanager
def new_rows(settings: Settings, given: str, query: str | None) -> Iterator[SourceRows]:
    """Fetches what is new in a source of the settings, and holds it meanwhile; or all rows of an address.

    Raises:
        SourceError: The source cannot be fetched.
        LoadError: Another process loads the same source.
    """
    if not is_name(settings, given):
        with all_rows(settings, given, query) as rows:
            yield rows
        return
    _check_query(given, query)
    with open_store(settings) as engine, exclusive_source(engine, given):
        with busy(f"fetching {given}"):
            fetched = fetch_source(settings, given, engine)
        inputs = None if fetched.path is None else inputs_of(settings, given, fetched.path)
        folder = batch_folder(settings, given)
        mapping, moved = mapping_file(settings, given), moving_watermark(given, fetched)
        try:
            yield SourceRows(given, inputs, mapping, moved, lambda: remove_batch(folder))
        except REFUSALS:
            remove_batch(folder)
            raise


@contextmanager
def all_rows(settings: Settings, given: str, query: str | None) -> Iterator[SourceRows]:
    """Fetches all rows of a source of the settings or of an address, without regard to its watermark.

    Raises:
        SourceError: The source cannot be fetched.
    """
    with ExitStack() as stack:
        parent = settings.cache / "ingest"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(stack.enter_context(TemporaryDirectory(dir=parent, prefix=f"{os.getpid()}-from-")))
        if is_name(settings, given):
            _check_query(given, query)
            source, name, mapping = configured_source(settings, given), given, mapping_file(settings, given)
        else:
            source = Source("--from", given, query)
            name, mapping = _origin(source), None
        with busy(f"fetching {source.shown}"):
            path = fetch(source, folder).path
        if path is None:
            inputs = None
        else:
            inputs = inputs_of(settings, given, path) if is_name(settings, given) else InputFiles(unknown=[path])
        yield SourceRows(name, inputs, mapping)


def _check_query(name: str, query: str | None) -> None:
    if query is not None:
        raise SourceError(f"--query is for an address; the source {name} has its own in [ingest.sources.{name}]")


def _origin(source: Source) -> str:
    """The last part of an address that is no pattern, without its ending: the origin of its rows."""
    path = urlsplit(source.address).path if "://" in source.address else source.address
    parts = [part for part in PurePosixPath(path).parts if part != "/" and set(part).isdisjoint("*?[")]
    return parts[-1].split(".")[0] if parts else source.scheme
