"""Every command's help shows an example."""

from importlib.metadata import version

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from tests.support.command_result import Run


def commands(group: TyperGroup, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Lists every command as its words."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += commands(command, (*words, name)) if isinstance(command, TyperGroup) else [(*words, name)]
    return found


ROOT = get_command(app)
assert isinstance(ROOT, TyperGroup)
COMMANDS = commands(ROOT)
SERVERS = {"demo", "up", "down", "status", "retrain", "promote", "rollback", "recommend", "batch"}
DOCUMENTED = SERVERS | {"ingest", "evaluate", "bench", "search", "adapt"}


def test_documented_commands_exist() -> None:
    assert {" ".join(words) for words in COMMANDS} >= DOCUMENTED | {"data list", "data get"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_an_example_on_its_own_line(duotempo: Run, words: tuple[str, ...]) -> None:
    answer = duotempo(*words, "--help")
    assert answer.code == 0
    lines = [line.strip() for line in answer.out.splitlines()]
    assert any(line.startswith(f"duotempo {' '.join(words)}") for line in lines)


def test_help_lists_commands(duotempo: Run) -> None:
    answer = duotempo("-h")
    assert answer.code == 0
    assert all(name in answer.text for name in DOCUMENTED | {"data"})


def test_unknown_command_or_option_is_named(duotempo: Run) -> None:
    assert "retrian" in duotempo("retrian").text
    answer = duotempo("status", "--jsno")
    assert answer.code == 2
    assert "--jsno" in answer.text


def test_version_is_printed(duotempo: Run) -> None:
    answer = duotempo("--version")
    assert (answer.code, answer.out.split()) == (0, ["duotempo", version("duotempo")])


@pytest.mark.parametrize("words", [("recommend", "u"), ("batch", "--out", "all.parquet")])
@pytest.mark.parametrize("k", ["0", "-1"])
def test_k_below_one_is_rejected(duotempo: Run, words: tuple[str, ...], k: str) -> None:
    answer = duotempo(*words, "-k", k)
    assert answer.code == 2
    assert "greater than or equal to 1" in answer.text


@pytest.mark.parametrize("command", ["forget", "recommend"])
@pytest.mark.parametrize("user", [" ", "ki\u200bm"])
def test_invalid_user_id_is_rejected(duotempo: Run, command: str, user: str) -> None:
    answer = duotempo(command, user)
    assert answer.code == 2
    assert "the id" in answer.err
