"""The commands of docs/data.md, from a shop's export to the first list, run as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import emptied, stored

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
ON_THE_PLATFORM = ("duotempo up", "duotempo retrain", "duotempo promote", "duotempo recommend")


def commands() -> list[str]:
    """The command lines of the document, in their order, without comments."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [line.split("   #")[0].strip() for line in lines]


class Reader:
    """Types the commands of the document in an empty folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DUOTEMPO_")}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.folder = folder
        self.environment = clean | {"PATH": programs, "COLUMNS": "200"} | environment
        (folder / "docs").symlink_to(ROOT / "docs")

    def type(self, command: str) -> str:
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def empty_store(database: str) -> Iterator[str]:
    with emptied(database):
        yield database


def test_the_files_of_the_shop_are_understood_and_loaded(empty_store: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path, DUOTEMPO_DATABASE_URL=empty_store, DUOTEMPO_HOME=str(tmp_path / "home"))
    typed = [command for command in commands() if not command.startswith(ON_THE_PLATFORM)]
    outputs = {command: reader.type(command) for command in typed}
    assert len(typed) == 7
    [loaded] = [output for command, output in outputs.items() if command.startswith("duotempo ingest p")]
    assert re.search(r"accepted +│ +2940", loaded) and re.search(r"left out: return +│ +60", loaded)
    assert stored(empty_store, "SELECT count(*), min(value), max(value) FROM events") == [(2_940, 1.0, 3.0)]
    assert stored(empty_store, "SELECT title, category FROM items ORDER BY item_id LIMIT 1") == [
        ("Topf 1", ["Küche", "Töpfe"])
    ]
    again = reader.type(next(command for command in typed if command.startswith("duotempo ingest p")))
    assert re.search(r"accepted +│ +0 ", again)


@pytest.mark.long
def test_the_shop_gets_its_first_list(tmp_path: Path) -> None:
    reader = Reader(tmp_path, DUOTEMPO_HOME=str(tmp_path / "home"), DUOTEMPO_PRESET="demo")
    try:
        for command in commands():
            output = reader.type(command)
    finally:
        reader.type("duotempo down")
    assert command.startswith("duotempo recommend")
    assert re.search(r"(Topf|Spaten|Heft|Pfanne|Harke|Block|Wok|Kessel|Schere|Schlauch|Lineal|Mappe) \d", output)
