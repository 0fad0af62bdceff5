"""Terminal output, error reporting and settings shared by all commands."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tomllib import TOMLDecodeError
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.cells import cell_len
from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status
from rich.table import Table
from rich.text import Text

from components.core.errors import DuotempoError
from components.core.logs import IndentedFormatter, visible
from components.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from sqlalchemy import Engine

    from infra.local.platform import Platform


class Terminal(Console):
    """A console that prints text literally: no markup, and control characters are escaped."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


out = Terminal(highlight=False, markup=False, emoji=False)
err = Terminal(stderr=True, highlight=False, markup=False, emoji=False)


def load_settings(**changes: Any) -> Settings:
    """Reads the settings, with `changes` applied, and configures logging. Exits with 2 if a setting is invalid."""
    try:
        settings = Settings(**changes)
    except TOMLDecodeError as error:
        fail(f"settings: duotempo.toml: {error}", code=2)
    except ValidationError as error:
        fail("settings: " + "; ".join(map(_wrong_setting, error.errors())), code=2)
    except ValueError as error:
        fail(f"settings: {error}", code=2)
    handler = RichHandler(console=err, show_path=False, show_time=False)
    handler.setFormatter(IndentedFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in ("httpx", "alembic", "sqlalchemy", "prefect", "mlflow", "bentoml", "great_expectations"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    return settings


def _wrong_setting(error: "ErrorDetails") -> str:
    name = ".".join(map(str, error["loc"]))
    return f"{name}: {error['msg']}" if name else error["msg"].removeprefix("Value error, ")


def enter_platform(settings: Settings) -> "Platform":
    """Returns the platform of the settings and puts its variables into this process's environment."""
    from infra.local.platform import Platform

    platform = Platform(settings)
    platform.enter()
    return platform


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Prints an error and exits the command with `code`."""
    err.print(styled_prefix("error:", "bold red", message), soft_wrap=True)
    raise typer.Exit(code)


def styled_prefix(word: str, style: str, text: str) -> Text:
    """Prefixes the text with a styled word, such as a red `error:`."""
    return Text.assemble((word, style), " ", visible(text))


@contextmanager
def busy(message: str) -> Iterator[Status]:
    """Shows a spinner; without a terminal, prints one line on stderr instead."""
    if not out.is_terminal:
        err.print(f"{message} …")
    with out.status(message) as spinner:
        yield spinner


@contextmanager
def report_errors() -> Iterator[None]:
    """Turns errors that the user can fix (`DuotempoError`) into a message and exit code 1."""
    try:
        yield
    except DuotempoError as error:
        fail("; ".join([str(error), *getattr(error, "__notes__", ())]))


@contextmanager
def open_store(settings: Settings) -> Iterator["Engine"]:
    """Opens the platform's own database, or that of DUOTEMPO_DATABASE_URL. Errors are handled as by `report_errors`."""
    from components.store.engine import make_engine
    from infra.local.platform import Platform

    with report_errors():
        engine = make_engine(Platform(settings).database_url)
        try:
            yield engine
        finally:
            engine.dispose()


RIGHT_ALIGNED = {"seconds", "count", "score", "rank", "pid"}


MIN_COLUMNS = 2
"""Columns that are always shown, however narrow the terminal."""
MIN_PROSE_WIDTH = 20
"""Minimum width of a prose column, in cells; prose wraps between words, other columns never wrap."""


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table with right-aligned figures.

    On a terminal too narrow for all columns, the last ones are dropped and named below the table. Without a terminal
    the table is as wide as its content.
    """
    width = out.width if out.is_terminal or os.environ.get("COLUMNS") else None
    shown = fitting_columns(columns, rows, width)
    rendered = Table(title=title, title_justify="left")
    for index in shown:
        name = columns[index]
        right, prose = name in RIGHT_ALIGNED or "@" in name, _is_prose(rows, index) or len(shown) <= MIN_COLUMNS
        rendered.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=not prose)
    for row in rows:
        rendered.add_row(*(row[index] for index in shown))
    if width is None:
        out.width = max(out.width, sum(_widths(columns, rows, shown, unwrapped=True)))
    out.print(rendered)
    if left_out := [name for index, name in enumerate(columns) if index not in shown]:
        out.print(f"left out, as {out.width} columns are too few: {', '.join(left_out)}")


def fitting_columns(columns: list[str], rows: list[list[str]], width: int | None) -> list[int]:
    """Returns the indices of the leading columns that fit into `width` cells (None: unlimited)."""
    shown = list(range(len(columns)))
    while width is not None and len(shown) > MIN_COLUMNS and sum(_widths(columns, rows, shown)) > width:
        shown.pop()
    return shown


def _widths(columns: list[str], rows: list[list[str]], shown: list[int], *, unwrapped: bool = False) -> list[int]:
    """Minimum width of each column, with border and padding; `unwrapped`: the width that wraps no line."""
    edge, beside = 1, 3
    widths = [max(cell_len(cell) for cell in (columns[index], *(row[index] for row in rows))) for index in shown]
    if not unwrapped:
        widths = [
            min(width, MIN_PROSE_WIDTH) if _is_prose(rows, index) else width
            for index, width in zip(shown, widths, strict=True)
        ]
    return [edge, *(width + beside for width in widths)]


def _is_prose(rows: list[list[str]], index: int) -> bool:
    """Whether a column holds sentences or non-ASCII text, as opposed to figures, names or addresses."""
    return any(" " in row[index].partition(" [")[0] or not row[index].isascii() for row in rows)


def print_json(value: Any) -> None:
    """Prints a value as JSON for other programs to read."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
