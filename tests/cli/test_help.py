"""Every command explains itself, with an example."""

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cli.main import app
from tests.cli.conftest import Run


def commands(command: TyperGroup | TyperCommand, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command."""
    if isinstance(command, TyperCommand):
        return [words]
    return [found for name, part in command.commands.items() for found in commands(part, (*words, name))]


COMMANDS = commands(get_command(app))
PROMISED = {
    "demo",
    "up",
    "down",
    "status",
    "ingest",
    "retrain",
    "promote",
    "rollback",
    "recommend",
    "batch",
    "evaluate",
}


def test_the_promised_commands_are_there() -> None:
    assert {" ".join(words) for words in COMMANDS} >= PROMISED | {"data list", "data get"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_an_example_on_a_line_of_its_own(duotempo: Run, words: tuple[str, ...]) -> None:
    answer = duotempo(*words, "--help")
    assert answer.code == 0
    lines = [line.strip() for line in answer.out.splitlines()]
    assert any(line.startswith(f"duotempo {' '.join(words)}") for line in lines)


def test_without_a_command_it_lists_them(duotempo: Run) -> None:
    answer = duotempo("-h")
    assert answer.code == 0
    assert all(name in answer.text for name in PROMISED | {"data"})


def test_an_unknown_command_or_option_is_named(duotempo: Run) -> None:
    assert "retrian" in duotempo("retrian").text
    answer = duotempo("status", "--jsno")
    assert answer.code == 2
    assert "--jsno" in answer.text
