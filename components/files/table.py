"""What is known about an opened file."""

from dataclasses import dataclass
from pathlib import Path

from components.files.errors import DatasetError

_MAX_DELIMITER = 4


@dataclass(frozen=True)
class ReadOptions:
    """What a user says about a file; what is None is found out.

    Attributes:
        encoding: A name that Python knows, such as `gb18030`.
        quote: The character around values; empty where quotes are part of the values.
        sheet: The name of a sheet of a workbook.
    """

    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quote: str | None = None
    sheet: str | None = None

    def __post_init__(self) -> None:
        """Raises DatasetError for a delimiter or a quote that no file can have."""
        if self.delimiter is not None and (not 1 <= len(self.delimiter) <= _MAX_DELIMITER or "\n" in self.delimiter):
            raise DatasetError(f"the delimiter {self.delimiter!r} is not one to {_MAX_DELIMITER} characters of a line")
        if self.quote is not None and len(self.quote) > 1:
            raise DatasetError(f"the quote {self.quote!r} is more than one character")


@dataclass(frozen=True)
class Column:
    """A column and its DuckDB type; VARCHAR in delimited text and workbooks, JSON in JSON files."""

    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """A file as a view, in the order of its rows.

    Attributes:
        format: csv, json, parquet or excel.
        notes: How the file was read, a short sentence each, for the report.
        header: Whether the names of the columns come from the file.
        rows: The number of rows, counted in a whole scan.
        files: Where the rows come from.
    """

    view: str
    columns: tuple[Column, ...]
    format: str
    notes: tuple[str, ...]
    header: bool
    rows: int
    files: tuple[Path, ...] = ()
