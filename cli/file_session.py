"""The files of one command: opened, asked about, judged and loaded."""

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import psutil
import typer
from duckdb import DuckDBPyConnection
from sqlalchemy import Engine
from tqdm import tqdm

from cli.console import busy, err, fail, out
from components.datasets.opened_files import InputFiles, OpenedFiles, open_files
from components.datasets.sources import EVENT_FILE, dataset_files
from components.files.connection import connect
from components.files.table import ReadOptions
from components.ingestion.load_files import AtCompletion, JudgedFiles, LoadReport, judge_files, load_files, nothing_more
from components.mapping.mapping_file import mapping_from, read_mapping, write_mapping
from components.mapping.question import Question
from components.mapping.rules import Mapping as FileMapping
from components.mapping.source import MappingError
from components.settings import Settings

MAPPING_FILE = Path("mapping.toml")


@dataclass(frozen=True)
class FileRequest:
    """What the user said about the files."""

    inputs: InputFiles
    mapping_file: Path | None = None
    assignments: Mapping[str, str] = field(default_factory=dict)
    options: ReadOptions | None = None
    timezone: str | None = None


def input_files(files: list[Path] | None, events: Path | None, items: Path | None) -> InputFiles:
    """The files that a command names. Exits with 2 if there are none; a dataset folder stands for its two files."""
    given = files or []
    if len(given) == 1 and given[0].is_dir() and (given[0] / EVENT_FILE).is_file():
        if events or items:
            fail("a dataset folder has its own items: leave out --events and --items", code=2)
        return dataset_files(given[0])
    if not (given or events or items):
        fail("name files, a dataset folder, or --events FILE [--items FILE]", code=2)
    return InputFiles(events, items, given)


class FileSession:
    """A database for the files of one command, in a scratch folder below the cache, which is removed at the end."""

    def __init__(self, settings: Settings, request: FileRequest) -> None:
        self._settings, self._request = settings, request
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        parent = self._settings.cache / "ingest"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_left_over(parent)
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(dir=parent, prefix=f"{os.getpid()}-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, answers: FileMapping | None = None) -> OpenedFiles:
        """Opens the files in a new database."""
        request = self._request
        mapping = read_mapping(request.mapping_file) if request.mapping_file is not None else None
        if mapping is not None and request.assignments:
            fail("--map and --mapping exclude each other: write the names into the mapping", code=2)
        folder = Path(self._stack.enter_context(TemporaryDirectory(dir=self._folder)))
        self._connection = connect(folder, self._settings.ingest.memory_mb)
        self._stack.callback(self._connection.close)
        with busy("reading the files"):
            return open_files(
                self._connection,
                request.inputs,
                mapping=mapping,
                assignments=request.assignments,
                answers=answers,
                options=request.options,
                timezone=request.timezone,
            )

    def open_settled(self) -> OpenedFiles:
        """Opens the files, and asks on a terminal what is not certain; without one it exits with 2.

        The answers are kept in mapping.toml, unless there is one.
        """
        answers: dict[str, dict[str, object]] = {}
        opened = self.open()
        while opened.questions:
            if not (sys.stdin.isatty() and out.is_terminal):
                print_questions(opened)
                fail("write these lines into a mapping: `duotempo inspect` begins one, --mapping FILE uses it", code=2)
            for question in opened.questions:
                answers.setdefault(question.role, {}).update(_ask(question))
            opened = self.open(mapping_from(answers))
        if answers and not MAPPING_FILE.exists():
            write_mapping(MAPPING_FILE, opened.mapping)
            out.print(f"the answers are kept in {MAPPING_FILE}; the next time: --mapping {MAPPING_FILE}")
        return opened

    @property
    def connection(self) -> DuckDBPyConnection:
        """The database of the opened files."""
        return self._connection

    def judge(self, opened: OpenedFiles, source: str, engine: Engine | None) -> JudgedFiles:
        """Judges all rows; without an engine as for an empty store."""
        with busy("judging all rows"):
            return judge_files(
                self._connection, opened, self._settings, source=source, now=datetime.now(UTC), engine=engine
            )

    def load(
        self,
        opened: OpenedFiles,
        judged: JudgedFiles,
        source: str,
        engine: Engine,
        at_completion: AtCompletion = nothing_more,
    ) -> LoadReport:
        """Stores the rows, with a progress bar."""
        bars: dict[str, tqdm] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = tqdm(total=total, desc=stage, unit=" rows", disable=None)
            bars[stage].update(done - bars[stage].n)

        try:
            return load_files(
                self._connection,
                opened,
                judged,
                engine,
                self._settings,
                source=source,
                progress=show,
                at_completion=at_completion,
            )
        except KeyboardInterrupt as interrupt:
            err.print("interrupted:", *getattr(interrupt, "__notes__", ()), soft_wrap=True)
            raise typer.Exit(130) from interrupt
        finally:
            for bar in bars.values():
                bar.close()


def _remove_left_over(parent: Path) -> None:
    """Removes the folders of killed processes: they hold users' data."""
    for folder in parent.iterdir():
        pid = folder.name.partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def print_questions(opened: OpenedFiles) -> None:
    """Prints what a person has to decide, on stderr."""
    for question in opened.questions:
        err.print(f"? {question.what}", soft_wrap=True)
        if question.line:
            err.print(f"    [{question.role}] {question.line}", soft_wrap=True)


def _ask(question: Question) -> dict[str, object]:
    """Asks for a line of mapping.toml until it is one; Enter takes the proposed line."""
    out.print(f"? {question.what}", soft_wrap=True)
    while True:
        line = typer.prompt("  the line of the mapping", default=question.line or None)
        try:
            mapping_from({question.role: tomllib.loads(line)})
        except (tomllib.TOMLDecodeError, MappingError) as error:
            out.print(f"  {error}", soft_wrap=True)
        else:
            return dict(tomllib.loads(line))
