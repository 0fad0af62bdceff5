"""Opens workbooks: .xlsx, .xlsb, .xls, .ods. A sheet is written as delimited text, and read as such."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import psutil
from python_calamine import CalamineError, CalamineWorkbook

from components.core.logs import one_line
from components.files import spool
from components.files.errors import DatasetError, unreadable
from components.files.names import join_names

XLS_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ROWS = 10_000
"""Rows that are written at a time."""


def write_sheet(source: object, file: Path, sheet: str | None, target: Path) -> str | None:
    """Writes a sheet as comma-separated UTF-8, without its empty rows.

    Args:
        source: The file as the user named it, for messages.
        sheet: The sheet's name; without it the first sheet that is not empty is written.

    Returns:
        A note about the choice of the sheet, or None if there is only one.

    Raises:
        DatasetError: The workbook is damaged, protected, empty or too large for memory, or has no such sheet.
    """
    _check_memory(source, file)
    try:
        with CalamineWorkbook.from_path(file) as workbook:
            names = workbook.sheet_names
            if sheet is not None and sheet not in names:
                raise DatasetError(f"{source} has no sheet {one_line(sheet)}; its sheets are {join_names(names)}")
            filled = (name for name in names if workbook.get_sheet_by_name(name).height)
            chosen = sheet if sheet is not None else next(filled, None)
            if chosen is None:
                raise DatasetError(f"{source} is empty; it needs a header and rows")
            spool.write(source, _lines(workbook.get_sheet_by_name(chosen).iter_rows()), target)
    except (CalamineError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(source, "excel", one_line(str(error)), "save it again as .xlsx") from error
    if len(names) == 1:
        return None
    others = join_names(name for name in names if name != chosen)
    return f"sheet {one_line(chosen)} (not read: {others})"


def _check_memory(source: object, file: Path) -> None:
    """Raises DatasetError when a workbook unpacks to more than the free memory."""
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            needed = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise unreadable(source, "excel", str(error), "save it again as .xlsx") from error
    free = psutil.virtual_memory().available
    if needed > free:
        why = f"it takes {needed / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} GiB are free"
        raise unreadable(source, "excel", why, "save the sheet as .csv")


def _lines(rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for number, row in enumerate(rows, start=1):
        values = list(map(_text, row))
        if any(values):
            writer.writerow(values)
        if not number % _ROWS:
            yield buffer.getvalue().encode("utf-8")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode("utf-8")


def _text(value: object) -> str:
    """A cell as text: whole numbers without a fraction, times in ISO 8601."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat(*[" "] if isinstance(value, datetime) else [])
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return str(value).lower() if isinstance(value, bool) else str(value)
