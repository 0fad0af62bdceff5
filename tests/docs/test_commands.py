"""Every command and option named in the documents exists."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
CODE = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(
    r"(?<![-\w/.=:])(?<!-n )(?<!install )(?<!upgrade )(?<!namespace )(?<!generic )duotempo ([a-z][^&|;#`)\n]*)"
)


def commands(document: Path) -> list[str]:
    """The arguments after the word `duotempo` in the code spans and blocks of a document."""
    code_spans = [block or inline for block, inline in CODE.findall(document.read_text(encoding="utf-8"))]
    return [arguments.strip() for code in code_spans for arguments in COMMAND.findall(code.replace("\\|", "/"))]


def missing(arguments: str) -> str | None:
    """The first word that is neither a command nor an option of the CLI; None if all exist."""
    command = get_command(app)
    for word in re.split(r"[\s\[\]]+", arguments):
        inside = getattr(command, "commands", None)
        if inside is not None:
            if word not in inside:
                return word
            command = inside[word]
        elif word.startswith("-") and word.partition("=")[0] not in {
            option for parameter in command.params for option in parameter.opts
        }:
            return word
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_of_a_document_exist(document: Path) -> None:
    uses = commands(document)
    assert [(arguments, word) for arguments in uses if (word := missing(arguments))] == []


def test_commands_are_extracted_and_unknown_ones_reported() -> None:
    """Guards the test above against finding no commands or accepting unknown ones."""
    names = {arguments.split()[0] for document in DOCUMENTS for arguments in commands(document)}
    assert {"up", "down", "status", "promote", "rollback", "backup", "restore", "worker", "report", "forget"} <= names
    assert missing("promote 3 --force --why TEXT") is None
    assert (missing("demote 3"), missing("promote 3 --softly"), missing("report offline")) == (
        "demote", "--softly", "offline",
    )  # fmt: skip
