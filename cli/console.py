"""What every command prints with."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tomllib import TOMLDecodeError
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status
from rich.table import Table
from rich.text import Text

from components.errors import DuotempoError
from components.logs import LogLines
from components.plain import visible
from components.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from sqlalchemy import Engine

    from infra.local.platform import Platform


class Terminal(Console):
    """Prints text as it is: nothing in it is markup, and a control character in it is written out."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


out = Terminal(highlight=False, markup=False, emoji=False)
err = Terminal(stderr=True, highlight=False, markup=False, emoji=False)


def load_settings(**changes: Any) -> Settings:
    """The settings, with `changes`; logging is set up by them. Exits with 2 when one of them is wrong."""
    try:
        settings = Settings(**changes)
    except TOMLDecodeError as error:
        fail(f"settings: duotempo.toml: {error}", code=2)
    except ValidationError as error:
        fail("settings: " + "; ".join(map(_wrong_setting, error.errors())), code=2)
    except ValueError as error:
        fail(f"settings: {error}", code=2)
    handler = RichHandler(console=err, show_path=False, show_time=False)
    handler.setFormatter(LogLines())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in ("httpx", "alembic", "sqlalchemy", "prefect", "mlflow", "bentoml", "great_expectations"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    return settings


def _wrong_setting(error: "ErrorDetails") -> str:
    name = ".".join(map(str, error["loc"]))
    return f"{name}: {error['msg']}" if name else error["msg"].removeprefix("Value error, ")


def enter_platform(settings: Settings) -> "Platform":
    """The platform of the settings; this process and what it starts then know where its servers are."""
    from infra.local.platform import Platform

    platform = Platform(settings)
    platform.enter()
    return platform


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Prints an error and ends the command."""
    err.print(led_by("error:", "bold red", message), soft_wrap=True)
    raise typer.Exit(code)


def led_by(word: str, style: str, text: str) -> Text:
    """The text after a word in a style of its own."""
    return Text.assemble((word, style), " ", visible(text))


@contextmanager
def busy(message: str) -> Iterator[Status]:
    """A spinner while something goes on; a line on stderr where nobody could see it turn."""
    if not out.is_terminal:
        err.print(f"{message} …")
    with out.status(message) as spinner:
        yield spinner


@contextmanager
def reported() -> Iterator[None]:
    """Turns the errors that a person can mend into a message and exit code 1."""
    try:
        yield
    except DuotempoError as error:
        fail(str(error))


@contextmanager
def opened_store(settings: Settings) -> Iterator["Engine"]:
    """The platform's own database, or that of DUOTEMPO_DATABASE_URL; `reported` is in it."""
    from components.store.engine import make_engine
    from infra.local.platform import Platform

    with reported():
        engine = make_engine(Platform(settings).database_url)
        try:
            yield engine
        finally:
            engine.dispose()


NUMBERS = {"seconds", "count", "score", "rank", "pid"}


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table; figures are aligned to the right."""
    drawn = Table(title=title, title_justify="left")
    for column in columns:
        drawn.add_column(column, justify="right" if column in NUMBERS or "@" in column else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)


def print_json(value: Any) -> None:
    """Prints JSON and nothing else, for other programs to read."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
