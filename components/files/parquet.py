"""Opens Parquet: a file, or several with the same columns, which may be hive partitions."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.core.logs import one_line
from components.files.errors import DatasetError, unreadable
from components.files.names import MAX_COLUMNS, check_names, join_names, numbered
from components.files.sql import create_view, file_list, identifier, single_row
from components.files.table import Column, Table

_BATCH = 10_000
_MICROSECONDS = {"s": 10**6, "ms": 10**3}
_MAX_MICROSECONDS = 2**63 - 1
_SIZES = {"VARCHAR": "sum(strlen(#{}))", "BLOB": "sum(octet_length(#{}))"}
"""Bytes of texts, by type; DuckDB does not check texts for their lengths."""
_VALUES = {"VARCHAR": "max(left(#{}, 1))"}
_OTHER_VALUES = "bit_xor(hash(#{}))"
"""Reads all values of a column; a count or a maximum would come from the file's statistics."""
_NESTED = ("[", "STRUCT", "MAP")
_ZONED = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")


def open_parquet(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    files: Sequence[Path],
    view: str,
    spare: Path,
    root: Path | None = None,
) -> Table:
    """Opens files; times with a zone become times in UTC without one.

    Args:
        source: The file, folder or pattern as the user named it, for messages.
        spare: Folder for copies when files hold times beyond DuckDB's range; those are then missing.
        root: The folder below which `name=value` in a path is a column.

    Raises:
        DatasetError: A file is damaged, has too many columns, or holds more than fits on the disk.
    """
    notes = [f"{len(files):,} files"] if len(files) > 1 else []
    partitions = _partitions(files, root)
    try:
        names = _checked_names(source, files[0])
        reader, described = _reader(connection, files, partitions)
        names = numbered(names) + [column.name for column in described[len(names) :]]
        check_names(source, "parquet", names)
        try:
            rows = _scan(connection, source, reader, described, files, spare.parent)
        except duckdb.ConversionException:
            files = [_without_far_times(file, spare / file.relative_to(root or file.parent)) for file in files]
            reader, described = _reader(connection, files, partitions)
            rows = _scan(connection, source, reader, described, files, spare.parent)
            notes.append("times beyond the calendar are missing")
    except (duckdb.Error, pa.ArrowException, ValueError, OSError) as error:
        why = one_line(str(error).split("\n")[0]) or type(error).__name__
        raise unreadable(source, "parquet", why) from error
    if not rows:
        raise DatasetError(f"{source} holds no rows; check what wrote it")
    values = ", ".join(
        f"{_in_utc(column)} AS {identifier(name)}" for column, name in zip(described, names, strict=True)
    )
    columns = create_view(connection, view, f"SELECT {values} FROM {reader}")
    if partitions:
        notes.append(f"partitioned by {join_names(partitions)}")
    if zoned := [name for column, name in zip(described, names, strict=True) if column.type.startswith(_ZONED)]:
        notes.append(f"times in UTC: {join_names(zoned)}")
    return Table(view, columns, "parquet", tuple(notes), header=True, rows=rows)


def _partitions(files: Sequence[Path], root: Path | None) -> list[str]:
    """The names in the folders `name=value` between a root and its files."""
    if root is None:
        return []
    folders = (part for file in files for part in file.relative_to(root).parts[:-1])
    return list(dict.fromkeys(folder.split("=")[0] for folder in folders if "=" in folder))


def _checked_names(source: object, file: Path) -> list[str]:
    """The columns' names. Raises DatasetError for too many of them, or too many parts of nested columns."""
    stored = pq.ParquetFile(file)
    names = stored.schema_arrow.names
    check_names(source, "parquet", names)
    leaves = len(stored.schema)
    if leaves > MAX_COLUMNS:
        why = f"its columns have {leaves:,} parts, more than {MAX_COLUMNS:,}"
        raise unreadable(source, "parquet", why, "keep only what is needed")
    return names


def _reader(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], partitions: Sequence[str]
) -> tuple[str, list[Column]]:
    """The files as a part of a statement, and its columns."""
    reader = (
        f"(SELECT * FROM read_parquet({file_list(files)}, hive_partitioning={str(bool(partitions)).lower()}, "
        f"hive_types_autocast=false, union_by_name={str(len(files) > 1).lower()}))"
    )
    described = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    return reader, [Column(name, kind) for name, kind, *_ in described]


def _scan(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    reader: str,
    described: Sequence[Column],
    files: Sequence[Path],
    working_folder: Path,
) -> int:
    """Reads all values once, and counts the rows.

    Raises DatasetError when texts take more than the disk has: a text that is stored once may belong to many rows.
    """
    nested = any(part in column.type for column in described for part in _NESTED)
    needed = sum(map(_nested_size, files)) if nested else 0
    if sizes := _filled(_SIZES, described):
        needed += sum(int(size or 0) for size in single_row(connection, f"SELECT {sizes} FROM {reader}"))
    free = shutil.disk_usage(working_folder).free
    if needed > free:
        why = f"its texts take {needed / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB of disk are free"
        raise unreadable(source, "parquet", why, "split it")
    values = _filled(_VALUES, described, _OTHER_VALUES)
    return int(single_row(connection, f"SELECT count(*), {values} FROM {reader}")[0])


def _filled(templates: dict[str, str], described: Sequence[Column], default: str = "") -> str:
    """An expression for each column whose type has a template."""
    filled = (templates.get(column.type, default).format(place) for place, column in enumerate(described, start=1))
    return ", ".join(expression for expression in filled if expression)


def _nested_size(file: Path) -> int:
    """Bytes of the texts in nested columns."""
    stored = pq.ParquetFile(file)
    leaves = [stored.schema.column(number) for number in range(len(stored.schema))]
    nested = sorted({leaf.path.split(".")[0] for leaf in leaves if "." in leaf.path})
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    batches = pq.ParquetFile(file, read_dictionary=texts).iter_batches(_BATCH, columns=nested)
    return sum(_text_size(values) for batch in batches for values in batch.columns)


def _text_size(values: pa.Array) -> int:
    """Bytes of all text values in an array, repeated values included, at any nesting depth."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return pc.sum(pc.binary_length(values.dictionary).take(values.indices)).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(map(_text_size, values.flatten()))
    return _text_size(values.values) if pa.types.is_nested(kind) else 0


def _in_utc(column: Column) -> str:
    name = identifier(column.name)
    return f"timezone('UTC', {name}::TIMESTAMPTZ)" if column.type.startswith(_ZONED) else name


def _without_far_times(file: Path, target: Path) -> Path:
    """A copy of a file in which times beyond DuckDB's range are missing."""
    stored = pq.ParquetFile(file)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in stored.iter_batches(_BATCH):
            yield pa.RecordBatch.from_arrays([_near(values) for values in batch.columns], names=batch.schema.names)

    target.parent.mkdir(parents=True, exist_ok=True)
    parts = batches()
    first = next(parts)
    with pq.ParquetWriter(target, first.schema) as writer:
        writer.write_batch(first)
        for part in parts:
            writer.write_batch(part)
    return target


def _near(values: pa.Array) -> pa.Array:
    kind = values.type
    if not pa.types.is_timestamp(kind) or kind.unit not in _MICROSECONDS:
        return values
    limit = _MAX_MICROSECONDS // _MICROSECONDS[kind.unit]
    numbers = values.cast(pa.int64())
    near = pc.and_(pc.less(numbers, limit), pc.greater(numbers, -limit))
    return pc.if_else(near, numbers, None).cast(kind).cast(pa.timestamp("us", kind.tz))
