"""Opens any file that people have as a DuckDB view, by its content."""

import re
from dataclasses import replace
from pathlib import Path

import duckdb

from components.files import python_rows
from components.files.connection import working_folder
from components.files.delimited import open_delimited
from components.files.encoding import marked_encoding
from components.files.errors import DatasetError, unreadable
from components.files.excel import XLS_MAGIC, write_sheet
from components.files.json_rows import open_json
from components.files.parquet import open_parquet
from components.files.table import ReadOptions, Table
from components.files.unpack import MAGIC, compression, is_workbook, unpack
from components.files.utf8 import as_utf8

NOTHING_KNOWN = ReadOptions()
_GLOB = re.compile(r"[*?\[]")
_HEAD = 8 << 10
_PARQUET = b"PAR1"
_TAR_AT, _TAR = 257, b"ustar"
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
_WORKBOOK_ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_OTHERS = {
    b"%PDF": "a PDF document",
    b"ARROW1": "an Arrow file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"<": "HTML or XML",
}
_FIX = "convert it to CSV, JSON lines or Parquet"
_CONTROLS = bytes({*range(2, 9), *range(14, 27), *range(28, 32), 0})
_MAX_CONTROLS = 0.01


def open_table(
    connection: duckdb.DuckDBPyConnection, source: str | Path, view: str, options: ReadOptions = NOTHING_KNOWN
) -> Table:
    """Opens a file as a view whose rows stream from disk; the whole file is checked first.

    Reads delimited text, JSON, Parquet (also folders and patterns) and workbooks, and text that is compressed.
    The view lasts as long as the file and the connection's folder.

    Args:
        connection: Made by `connect`.
        view: The view's name, also for copies of the file in the connection's folder.
        options: What is known about the file; the rest is found out, and said in the notes.

    Raises:
        DatasetError: The file is missing, empty, damaged, or cannot be read without misreading it.
    """
    path = Path(source)
    folder = working_folder(connection)
    if path.is_dir():
        return _open_several(connection, source, path, "**/*.parquet", view, folder)
    if not path.exists() and _GLOB.search(str(source)):
        parts = path.parts
        fixed = next(place for place, part in enumerate(parts) if _GLOB.search(part))
        return _open_several(connection, source, Path(*parts[:fixed]), str(Path(*parts[fixed:])), view, folder)
    if not path.is_file():
        raise DatasetError(f"{source} does not exist; check the path")
    return _open_file(connection, path, view, options, folder)


def _open_several(
    connection: duckdb.DuckDBPyConnection, source: str | Path, root: Path, pattern: str, view: str, folder: Path
) -> Table:
    """Opens the Parquet files below a folder; hidden ones and those of unfinished writes are left out."""
    files = [file for file in sorted(root.glob(pattern)) if file.is_file() and not file.name.startswith((".", "_"))]
    if not files:
        raise DatasetError(f"{source} holds no Parquet files; name a file, or a folder of .parquet files")
    if others := [file for file in files if _head(file)[:4] != _PARQUET]:
        raise DatasetError(f"{others[0]} is not Parquet; only Parquet is read from several files: name one file")
    table = open_parquet(connection, source, files, view, folder / f"{view}.parquet", root)
    return replace(table, files=tuple(files))


def _open_file(
    connection: duckdb.DuckDBPyConnection, source: Path, view: str, options: ReadOptions, folder: Path
) -> Table:
    file, notes = source, []
    head = _checked_head(source, file)
    packed = compression(head)
    if packed and not (packed == "zip" and (is_workbook(file) or source.suffix.lower() in _WORKBOOK_ENDINGS)):
        file = folder / f"{view}.unpacked"
        unpack(source, packed, file)
        notes.append(packed)
        head = _checked_head(source, file)
        if compression(head) in set(MAGIC.values()) - {"zip"}:
            raise DatasetError(f"{source} is compressed more than once; unpack it once")
    ending = Path(source.stem).suffix.lower() if packed else source.suffix.lower()
    if head.startswith(_PARQUET) or ending == ".parquet":
        table = open_parquet(connection, source, [file], view, folder / f"{view}.parquet")
    elif head.startswith((XLS_MAGIC, b"PK\x03\x04")) or ending in _WORKBOOK_ENDINGS:
        text = folder / f"{view}.csv"
        sheet = write_sheet(source, file, options.sheet, text)
        notes += [sheet] if sheet else []
        written = ReadOptions(delimiter=",", header=options.header, quote='"')
        table = replace(
            open_delimited(connection, source, text, view, written, folder / f"{view}.lines"), format="excel"
        )
    else:
        table = _open_text(connection, source, file, head, view, options, folder, ending)
    if options.sheet is not None and table.format != "excel":
        raise DatasetError(f"{source} is {table.format} and has no sheets; leave out --sheet")
    return replace(table, notes=(*notes, *table.notes), files=(source,))


def _open_text(
    connection: duckdb.DuckDBPyConnection,
    source: Path,
    file: Path,
    head: bytes,
    view: str,
    options: ReadOptions,
    folder: Path,
    ending: str,
) -> Table:
    if options.encoding is None:
        _check_text(source, head)
    text, notes = as_utf8(source, file, folder / f"{view}.utf8", options.encoding)
    with text.open("rb") as stream:
        start = stream.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(python_rows.MAGIC):
        text = python_rows.write_json_lines(source, text, folder / f"{view}.jsonl")
        notes.append("Python dictionaries")
        start = b"{"
    if ending in _JSON_ENDINGS or start.startswith(b"{") or (start[:1] == b"[" and start[1:].lstrip()[:1] == b"{"):
        table = open_json(connection, source, text, view, ending.removeprefix(".") or "json")
    else:
        table = open_delimited(connection, source, text, view, options, folder / f"{view}.lines")
    return replace(table, notes=(*notes, *table.notes))


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_HEAD)


def _checked_head(source: Path, file: Path) -> bytes:
    """The first bytes. Raises DatasetError when there are none, or they are of a format that is not read."""
    head = _head(file)
    if not head.strip():
        raise DatasetError(f"{source} is empty; it needs a header and rows")
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise DatasetError(f"{source} is {name}; {_FIX}")
    if head[_TAR_AT:].startswith(_TAR):
        raise DatasetError(f"{source} is a tar archive; unpack it and name one file")
    return head


def _check_text(source: Path, head: bytes) -> None:
    """Raises DatasetError for what is no text in any encoding; UTF-16 and UTF-32 hold zeros."""
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if marked_encoding(head) is None and controls > _MAX_CONTROLS * len(head):
        raise unreadable(source, "text", "it is binary", _FIX)
