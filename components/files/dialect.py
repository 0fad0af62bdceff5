"""Finds out how a delimited text is written: its delimiter, its header and the lines before it."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.files.names import numbered
from components.files.table import ReadOptions

DELIMITERS = ("::", "\t", "\x01", ";", ",", "|")
"""In the order of preference; the first three are hardly ever part of a value."""
_RARE_IN_VALUES = DELIMITERS[:3]
_SAMPLE = 256 << 10
_SAMPLE_ROWS = 1000
_LINE = re.compile(r"\r\n|\n|\r")
_DELIMITER_LINE = re.compile(r"sep=(\S)")
"""First line by which Excel is told the delimiter."""
_NO_NAME = re.compile(r"[-+]?[\d.,]+([eE][-+]?\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|https?://.*|[\[{].*")
"""Numbers, dates, addresses and JSON: what a header does not hold."""
_MAX_TITLES = 20
_MIN_TABLE = 3
"""Columns from which on lines above a table are told from rows of one value."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written.

    Attributes:
        names: The columns' names, from the header or numbered.
        header: Whether the names come from the file.
        skipped: The number of lines before the rows, the header among them.
        notes: What is unusual, for the report.
    """

    delimiter: str
    names: tuple[str, ...]
    header: bool
    skipped: int
    notes: tuple[str, ...]


def is_tabular(delimiter: str) -> bool:
    """Whether files with this delimiter usually keep quotes as part of the values."""
    return delimiter in _RARE_IN_VALUES


def find_dialect(file: Path, options: ReadOptions) -> Dialect | None:
    """The dialect of a UTF-8 file, from its first lines. None for a file without any line."""
    with file.open("rb") as stream:
        sample = stream.read(_SAMPLE)
    lines = _LINE.split(sample.decode("utf-8-sig", errors="ignore"))
    if len(sample) == _SAMPLE and len(lines) > 1:
        lines.pop()
    before = 0
    comments = []
    delimiter = options.delimiter
    while before < len(lines) and (not lines[before].strip() or lines[before].startswith("#")):
        comments += [lines[before]] if lines[before].strip() else []
        before += 1
    if before < len(lines) and (told := _DELIMITER_LINE.fullmatch(lines[before].strip())):
        delimiter = delimiter or told[1]
        before += 1
    notes = [f"{len(comments):,} comment lines before the rows"] if comments else []
    if titles := _lines_above_header(lines[before:], delimiter, options.quote):
        notes.append(f"lines above the header left out: {titles:,}")
        before += titles
    lines = lines[before:]
    if not any(lines):
        return None
    if delimiter is None:
        delimiter = _find_delimiter(lines, options.quote)
    rows = _rows(lines, delimiter, options.quote)
    first = rows[0]
    header = _is_header(rows) if options.header is None else options.header
    commented = _rows([comments[-1].lstrip("# ")], delimiter, options.quote)[0] if comments else []
    if not header and options.header is None and len(commented) == len(first) > 1 and _is_header([commented]):
        return Dialect(delimiter, tuple(numbered(commented)), True, before, (*notes, "header in a comment line"))
    if header:
        names = numbered(first)
        skipped = before + _lines_of_first_row(lines, delimiter, options.quote)
        return Dialect(delimiter, tuple(names), True, skipped, tuple(notes))
    notes.append(f"no header: columns are named column0 to column{len(first) - 1}")
    return Dialect(delimiter, tuple(numbered([""] * len(first))), False, before, tuple(notes))


def _lines_above_header(lines: Sequence[str], delimiter: str | None, quote: str | None) -> int:
    """The number of lines with a title or nothing above a table of at least three columns, as spreadsheets have it."""
    for candidate in [delimiter] if delimiter else DELIMITERS:
        first = [_rows([line], candidate, quote)[0] for line in lines[: _MAX_TITLES + 1]]
        filled = [sum(bool(value.strip()) for value in row) for row in first]
        start = next((place for place, count in enumerate(filled) if count >= _MIN_TABLE), 0)
        if any(count > 1 and len(row) >= _MIN_TABLE for row, count in zip(first[:start], filled, strict=False)):
            continue
        if not start or any(line.startswith('"') and line.count('"') % 2 for line in lines[:start]):
            continue
        rows = _rows(lines[start:], candidate, quote)
        width = len(rows[0])
        if width >= _MIN_TABLE and len(rows) > start and sum(len(row) == width for row in rows) >= 0.9 * len(rows):
            return start
    return 0


def _find_delimiter(lines: Sequence[str], quote: str | None) -> str:
    """The delimiter that splits most lines as the first one; `,` for lines of one column."""
    widths = {}
    shares = {}
    for delimiter in DELIMITERS:
        rows = _rows(lines, delimiter, quote)
        if len(rows[0]) > 1:
            widths[delimiter] = len(rows[0])
            shares[delimiter] = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    fitting = [delimiter for delimiter in widths if shares[delimiter] == 1]
    if not fitting:
        return max(widths, key=lambda delimiter: (shares[delimiter], widths[delimiter]), default=",")
    if fitting[0] in _RARE_IN_VALUES:
        return fitting[0]
    if {";", ","} <= set(fitting):
        values = [value for row in _rows(lines, ";", quote) for value in row if "," in value]
        if all(_DECIMAL_COMMA.fullmatch(value.strip()) for value in values):
            return ";"
    return max(fitting, key=lambda delimiter: (widths[delimiter], delimiter == ","))


def _rows(lines: Sequence[str], delimiter: str, quote: str | None) -> list[list[str]]:
    """The rows of a sample; at least one, blank lines left out."""
    if len(delimiter) > 1 or quote == "" or (quote is None and is_tabular(delimiter)):
        rows = [[value.strip('"') for value in line.split(delimiter)] for line in lines if line.strip()]
        return rows[:_SAMPLE_ROWS] or [[""]]
    rows = []
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=delimiter, quotechar=quote or '"')
    try:
        for row in reader:
            rows += [row] if row else []
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        rows = rows or [lines[0].split(delimiter)]
    return rows or [lines[0].split(delimiter)]


def _lines_of_first_row(lines: Sequence[str], delimiter: str, quote: str | None) -> int:
    """The number of lines that the header takes, more than one when a quoted name holds a line break."""
    if len(delimiter) > 1 or quote == "" or is_tabular(delimiter):
        return 1
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, quotechar=quote or '"')
    next(reader)
    return reader.line_num


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds names: no numbers or dates, and nothing that recurs in its column."""
    first = [value.strip() for value in rows[0]]
    if not any(first) or any(_NO_NAME.fullmatch(value) for value in first):
        return False
    repeated = Counter(
        place
        for row in rows[1:]
        if [value.strip("\ufeff") for value in row] != list(rows[0])
        for place, value in enumerate(row[: len(first)])
        if value and value.strip() == first[place]
    )
    return not repeated
