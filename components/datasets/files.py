"""Reads tabular files as data frames. Malformed files and files that do not fit into memory are refused early."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.core.logs import one_line
from components.files.errors import DatasetError
from components.files.names import MAX_COLUMNS, join_names

MIN_VALUE_BYTES = 8
"""Minimum memory of a value in a data frame, in bytes."""


def read_rows(file: Path) -> pd.DataFrame:
    """Reads a .csv, .tsv, .parquet or .jsonl file with its own column names.

    Raises DatasetError when the file is missing, empty, damaged, too large for memory, or has no rows.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise DatasetError(f"{file}: the extension is none of {', '.join(_READERS)}; convert the file to one of them")
    if not file.is_file():
        raise DatasetError(f"{file} does not exist; check the path")
    if file.stat().st_size == 0:
        raise DatasetError(f"{file} is empty; it needs a header and rows")
    try:
        frame = reader(file)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 ({error}); save it as UTF-8") from error
    except _UNREADABLE as error:
        why = one_line(str(error)) or type(error).__name__
        raise DatasetError(f"{file} cannot be read as {file.suffix[1:]} ({why}); write it again") from error
    if frame.empty:
        raise DatasetError(f"{file} holds no rows; check what wrote it")
    return frame


def _check_names(names: Sequence[str]) -> None:
    """Raises ValueError for too many or duplicate column names."""
    if len(names) > MAX_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns, more than {MAX_COLUMNS:,}: keep only those that are needed")
    if duplicates := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two columns are named {join_names(duplicates)}: rename one")


def _read_text(separator: str) -> Callable[[Path], pd.DataFrame]:
    def read(file: Path) -> pd.DataFrame:
        header = pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
        _check_names(header.iloc[0].dropna().tolist())
        return pd.read_csv(
            file, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig", index_col=False
        )

    return read


def _read_parquet(file: Path) -> pd.DataFrame:
    """Reads text dictionary-encoded first, because a small file may expand to more than memory holds."""
    stored = pq.ParquetFile(file)
    _check_names(stored.schema_arrow.names)
    leaves = [stored.schema.column(number) for number in range(len(stored.schema))]
    if len(leaves) > MAX_COLUMNS:
        raise ValueError(f"its columns have {len(leaves):,} parts, more than {MAX_COLUMNS:,}: keep only what is needed")
    _check_memory(_declared_size(stored.metadata))
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    table = pq.ParquetFile(file, read_dictionary=texts).read()
    _check_memory(sum(_text_size(chunk) for column in table.columns for chunk in column.chunks))
    table = pa.table([_without_zone(column) for column in table.columns], names=table.column_names)
    frame = table.to_pandas(integer_object_nulls=True, ignore_metadata=True, date_as_object=False)
    return frame.astype(dict.fromkeys(frame.select_dtypes("category").columns, object))


def _declared_size(metadata: pq.FileMetaData) -> int:
    """Memory in bytes, estimated from the file's metadata."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    return sum(group.total_byte_size for group in groups) + MIN_VALUE_BYTES * values


def _text_size(values: pa.Array) -> int:
    """Bytes of all text values in an array, repeated values included, at any nesting depth."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return pc.sum(pc.binary_length(values.dictionary).take(values.indices)).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(map(_text_size, values.flatten()))
    return _text_size(values.values) if pa.types.is_nested(kind) else 0


def _check_memory(needed: int) -> None:
    """Raises ValueError when less memory than `needed` bytes is available."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise ValueError(f"it takes {needed / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} GiB are free: split it")


def _without_zone(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Drops the zone of a timestamp: the value is in UTC, and stays the same also beyond pandas' range."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return column.cast(pa.timestamp(column.type.unit))
    return column


def _read_json_lines(file: Path) -> pd.DataFrame:
    records: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                record = _parsed(line, number)
                if not record.keys() <= names.keys():
                    names |= dict.fromkeys(record)
                    _check_names(list(names))
                records.append(record)
    return pd.DataFrame(records, columns=list(names), dtype=object)


def _parsed(line: str, number: int) -> dict[str, Any]:
    """Parses a line. Raises ValueError unless it is a JSON object."""
    try:
        record = json.loads(line) if line.lstrip().startswith("{") else None
    except RecursionError as error:
        raise ValueError(f"line {number} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return record


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_text(","),
    ".tsv": _read_text("\t"),
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
}
_UNREADABLE = (
    pa.ArrowException,
    pd.errors.ParserError,
    ValueError,
    OSError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    MemoryError,
)
"""Exceptions of the readers for damaged files, or values that a data frame cannot hold."""
