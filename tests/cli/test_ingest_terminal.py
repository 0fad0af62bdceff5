"""`duotempo ingest` on a terminal: it asks what is not certain, and keeps the answers."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import emptied, stored

PROGRAM = Path(sys.executable).parent / "duotempo"
PROMPT = re.compile(rb"the line of the mapping \[[^\n]*\]: *$")
SECONDS = 90


@pytest.fixture
def empty_store(database: str) -> Iterator[str]:
    with emptied(database):
        yield database


def typed(folder: Path, database: str, *answers: str) -> str:
    """Runs `duotempo ingest clicks.csv` on a pseudo-terminal and types a line at each prompt; returns the output."""
    environment = os.environ | {"DUOTEMPO_DATABASE_URL": database, "DUOTEMPO_HOME": str(folder), "COLUMNS": "200"}
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "ingest", "clicks.csv"], cwd=folder, env=environment,
        stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True,
    )  # fmt: skip
    os.close(other_end)
    output, waiting, end = b"", list(answers), time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the program has closed the terminal
                break
            output += part
            if PROMPT.search(output):
                assert waiting, output.decode()
                os.write(terminal, f"{waiting.pop(0)}\n".encode())
        assert process.wait(10) == 0, output.decode()
    finally:
        process.kill()
        os.close(terminal)
    assert not waiting, output.decode()
    return output.decode()


def test_questions_are_answered_and_kept(empty_store: str, tmp_path: Path) -> None:
    rows = "user_id,item_id,timestamp,event\nu,x,05/07/2020,zap\nv,y,06/07/2020,view\n"
    (tmp_path / "clicks.csv").write_text(rows)
    events = 'event = { column = "event", words = { zap = "click" } }'
    output = typed(tmp_path, empty_store, "", 'event = "unfinished', events)
    assert "may be day-first or month-first" in output
    assert "Unterminated string" in output, "a line that is no TOML is asked for again"
    assert stored(empty_store, "SELECT event, occurred_at::date::text FROM events ORDER BY occurred_at") == [
        ("click", "2020-07-05"),
        ("view", "2020-07-06"),
    ]
    assert events in (tmp_path / "mapping.toml").read_text()
