"""A connection and helpers to open files made by the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from components.files.connection import connect
from components.files.errors import DatasetError
from components.files.opening import open_table
from components.files.table import ReadOptions, Table

Rows = list[tuple]
Open = Callable[..., tuple[Table, Rows]]
Refused = Callable[..., str]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(tmp_path / "work", threads=1) as opened:
        yield opened


@pytest.fixture
def open_file(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> Open:
    """Writes content to a file, unless it is None, and opens it: the table and its rows."""

    def opened(name: str, content: bytes | str | None = None, **options: str | bool) -> tuple[Table, Rows]:
        write(tmp_path / name, content)
        table = open_table(connection, tmp_path / name, "rows", ReadOptions(**options))  # type: ignore[arg-type]
        return table, connection.execute('FROM "rows"').fetchall()

    return opened


@pytest.fixture
def refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> Refused:
    """The message with which a file is refused; it names the file and is one printable line."""

    def message(name: str, content: bytes | str | None = None, **options: str | bool) -> str:
        write(tmp_path / name, content)
        with pytest.raises(DatasetError) as raised:
            open_table(connection, tmp_path / name, "rows", ReadOptions(**options))  # type: ignore[arg-type]
        text = str(raised.value)
        assert text.startswith(str(tmp_path / name))
        assert text.isprintable()
        assert len(text) < 1000
        return text

    return message


def write(file: Path, content: bytes | str | None) -> None:
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
