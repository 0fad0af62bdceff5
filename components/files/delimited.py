"""Opens delimited text; the whole file is parsed strictly once, so that errors name their line."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from components.core.logs import one_line
from components.files import spool
from components.files.dialect import Dialect, find_dialect, is_tabular
from components.files.errors import DatasetError, unreadable
from components.files.names import check_names
from components.files.sql import column_types, create_view, file_list, identifier, literal, single_row
from components.files.table import ReadOptions, Table

_MAX_SHOWN_LINE = 200
_MAX_VALUE_MB = 2
_NUMBER = re.compile(r"CSV Error on Line: (\d+)")
_LINE = re.compile(r"Original Line: (.*)")
_WIDTHS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_MIXED_LINE_ENDS = "invalid state"
_UNCOMMENTED = ".rows"
_DELIMITER_NAMES = {"\t": "tab", "\x01": "Ctrl-A", " ": "blank"}
_RFC = ('"', '"')
_BACKSLASH = ('"', "\\")
_UNQUOTED = ("", "")


def open_delimited(
    connection: duckdb.DuckDBPyConnection, source: object, file: Path, view: str, options: ReadOptions, spare: Path
) -> Table:
    """Opens a UTF-8 file with one row a line.

    Args:
        source: The file as the user named it, for messages.
        spare: Where a copy is written if line ends have to be made the same.

    Raises:
        DatasetError: The file holds no rows, or a line does not fit the others.
    """
    dialect = find_dialect(file, options)
    if dialect is None:
        raise DatasetError(f"{source} holds no rows; check what wrote it")
    check_names(source, "csv", dialect.names)
    errors: list[duckdb.Error] = []
    for quoting in _quotings(file, dialect, options):
        try:
            return _open(connection, source, file, view, dialect, quoting)
        except duckdb.Error as error:
            errors.append(error)
            if _MIXED_LINE_ENDS in str(error) and file != spare:
                same = spool.write(source, _same_line_ends(file), spare)
                return open_delimited(connection, source, same, view, options, same)
            if _is_comment(error) and not file.name.endswith(_UNCOMMENTED):
                copy = spool.write(source, _rows_only(file, dialect), file.with_name(f"{view}{_UNCOMMENTED}"))
                table = open_delimited(connection, source, copy, view, options, spare)
                return replace(table, notes=(*table.notes, "lines that begin with # are comments"))
    raise _explained(source, dialect, errors[0]) from errors[0]


def _quotings(file: Path, dialect: Dialect, options: ReadOptions) -> Sequence[tuple[str, str]]:
    """Pairs of a quote and its escape, the likeliest first; the first with which all lines fit is right."""
    if options.quote is not None:
        quote = options.quote
        return [(quote, quote), (quote, "\\")] if quote else [_UNQUOTED]
    if is_tabular(dialect.delimiter):
        return [_RFC] if _quotes_enclose_values(file, dialect.delimiter) else [_UNQUOTED]
    return [_RFC, _BACKSLASH]


def _quotes_enclose_values(file: Path, delimiter: str) -> bool:
    """Whether there are values in quotes, and each quote at the start of a value belongs to one in its line."""
    separator = delimiter.encode()
    enclosed = re.compile(
        rb"(?:\n|" + re.escape(separator) + rb')"[^"\n]*(?:""[^"\n]*)*"(?=' + re.escape(separator) + rb"|\r?\n|$)"
    )
    any_enclosed = False
    with file.open("rb") as stream:
        for chunk in spool.chunks(stream):
            lines = b"\n" + chunk + stream.readline(spool.CHUNK)
            if b'\n"' in lines or separator + b'"' in lines:
                rest, count = enclosed.subn(b"", lines)
                if b'\n"' in rest or separator + b'"' in rest:
                    return False
                any_enclosed |= count > 0
    return any_enclosed


def _is_comment(error: duckdb.Error) -> bool:
    """Whether a line with the wrong number of fields begins with #."""
    line = _LINE.search(str(error))
    return bool(_WIDTHS.search(str(error)) and line and line[1].startswith("#"))


def _rows_only(file: Path, dialect: Dialect) -> Iterator[bytes]:
    """A file's content without the lines, outside of quotes, that begin with # and do not have a row's fields."""
    delimiter, count = dialect.delimiter.encode(), len(dialect.names) - 1
    with file.open("rb") as stream:
        quoted = False
        while lines := stream.readlines(spool.CHUNK):
            kept = []
            for line in lines:
                if quoted or not line.startswith(b"#") or line.count(delimiter) == count:
                    kept.append(line)
                    quoted ^= not is_tabular(dialect.delimiter) and line.count(b'"') % 2 == 1
            yield b"".join(kept)


def _same_line_ends(file: Path) -> Iterator[bytes]:
    """A file's content with a line feed after each line; a carriage return within a line becomes a blank."""
    with file.open("rb") as stream:
        held = b""
        for chunk in spool.chunks(stream):
            text = held + chunk
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[:-1] if held else text
            yield text.replace(b"\r\n", b"\n").replace(b"\r", b" ")


def _open(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    file: Path,
    view: str,
    dialect: Dialect,
    quoting: tuple[str, str],
) -> Table:
    quote, escape = quoting
    reader = (
        f"read_csv({file_list([file])}, columns={column_types(dialect.names, 'VARCHAR')}, auto_detect=false, "
        f"strict_mode=true, header=false, skip={dialect.skipped}, delim={literal(dialect.delimiter)}, "
        f"quote={literal(quote)}, escape={literal(escape)}, encoding='utf-8')"
    )
    filled = f" WHERE coalesce({', '.join(map(identifier, dialect.names))}) IS NOT NULL"
    parsed = ", ".join(f"count({identifier(name)})" for name in dialect.names)
    rows = single_row(connection, f"SELECT count(*), {parsed} FROM {reader}{filled}")[0]
    if not rows:
        raise DatasetError(f"{source} holds no rows; check what wrote it")
    notes = list(dialect.notes)
    if len(dialect.names) == 1:
        notes.append("one column")
    elif dialect.delimiter != ",":
        notes.append(f"delimiter {_DELIMITER_NAMES.get(dialect.delimiter, dialect.delimiter)}")
    if quoting == _UNQUOTED and not is_tabular(dialect.delimiter):
        notes.append("quotes are part of the values")
    if quoting == _RFC and is_tabular(dialect.delimiter):
        notes.append("values in double quotes")
    if escape == "\\":
        notes.append("escape character \\")
    columns = create_view(connection, view, f"SELECT * FROM {reader}{filled}")
    return Table(view, columns, "csv", tuple(notes), dialect.header, rows)


def _explained(source: object, dialect: Dialect, error: duckdb.Error) -> DatasetError:
    """What is wrong with a line, and what to do."""
    text = str(error)
    number, line, widths = _NUMBER.search(text), _LINE.search(text), _WIDTHS.search(text)
    place = f"line {int(number[1]):,}" if number else "a line"
    shown = f": {one_line(line[1], _MAX_SHOWN_LINE)}" if line else ""
    delimiter = _DELIMITER_NAMES.get(dialect.delimiter, dialect.delimiter)
    first = "the header" if dialect.header else "the first line"
    if widths:
        expected, found = int(widths[1]), int(widths[2])
        why = f"{place} has {found:,} fields, {first} has {expected:,}{shown}"
        if found > expected:
            fix = f"put the value that holds {delimiter} between double quotes, or name the delimiter: --delimiter"
        else:
            fix = f"write the missing {delimiter}, and put a value with a line break between double quotes"
    elif "unterminated quote" in text:
        why = f"{place} has a double quote that is not closed, or that text follows{shown}"
        fix = 'close it, write "" for a double quote within a quoted value, or say that quotes mean nothing: --quote ""'
    elif "Maximum line size" in text:
        why, fix = f"{place} is longer than {_MAX_VALUE_MB} MB", "shorten it, and look for a quote that is not closed"
    else:
        why, fix = one_line(text.split("\n")[0]), "write it again"
    return unreadable(source, "csv", why, fix)
