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
from components.files.names import MAX_COLUMNS, check_names, numbered
from components.files.sql import create_view, file_list, identifier, single_row
from components.files.table import Column, Table

_BATCH = 10_000
_MICROSECONDS = {"s": 10**6, "ms": 10**3}
_MAX_MICROSECONDS = 2**63 - 1
_TEXTS = ("VARCHAR", "BLOB")
_NESTED = ("[", "STRUCT", "MAP")
_ZONED = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")


def open_parquet(
    connection: duckdb.DuckDBPyConnection, source: object, files: Sequence[Path], view: str, spare: Path
) -> Table:
    """Opens files; times with a zone become times in UTC without one.

    Args:
        source: The file, folder or pattern as the user named it, for messages.
        spare: Folder for copies when files hold times beyond DuckDB's range; those are then missing.

    Raises:
        DatasetError: A file is damaged, has too many columns, or holds more than fits on the disk.
    """
    try:
        names = _checked_names(source, files[0])
        reader = _reader(files, source)
        described = _described(connection, reader)
        partitions = [column.name for column in described[len(names) :]]
        names = numbered(names) + partitions
        check_names(source, "parquet", names)
        try:
            rows = _scan(connection, source, reader, described, files)
        except duckdb.ConversionException:
            spare.mkdir(exist_ok=True)
            files = [_without_far_times(file, spare / f"{number}.parquet") for number, file in enumerate(files)]
            reader = _reader(files, source)
            described = _described(connection, reader)
            rows = _scan(connection, source, reader, described, files)
    except (duckdb.Error, pa.ArrowException, ValueError, OSError) as error:
        why = one_line(str(error).split("\n")[0]) or type(error).__name__
        raise unreadable(source, "parquet", why) from error
    if not rows:
        raise DatasetError(f"{source} holds no rows; check what wrote it")
    values = ", ".join(
        f"{_in_utc(column)} AS {identifier(name)}" for column, name in zip(described, names, strict=True)
    )
    columns = create_view(connection, view, f"SELECT {values} FROM {reader}")
    notes = [f"{len(files):,} files"] if len(files) > 1 else []
    if partitions:
        notes.append(f"partitioned by {', '.join(partitions)}")
    if zoned := [name for column, name in zip(described, names, strict=True) if column.type.startswith(_ZONED)]:
        notes.append(f"times in UTC: {', '.join(zoned)}")
    return Table(view, columns, "parquet", tuple(notes), header=True, rows=rows)


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


def _reader(files: Sequence[Path], source: object) -> str:
    root = len(Path(str(source)).parts)
    hive = any("=" in part for file in files for part in file.parts[root:-1])
    return (
        f"(SELECT * FROM read_parquet({file_list(files)}, hive_partitioning={str(hive).lower()}, "
        f"hive_types_autocast=false, union_by_name={str(len(files) > 1).lower()}))"
    )


def _described(connection: duckdb.DuckDBPyConnection, reader: str) -> list[Column]:
    return [Column(name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()]


def _scan(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    reader: str,
    described: Sequence[Column],
    files: Sequence[Path],
) -> int:
    """Reads all values once, and counts the rows.

    Raises DatasetError when texts take more than the disk has: a text that is stored once may belong to many rows.
    """
    sizes = [
        f"coalesce(sum(octet_length(#{place}::BLOB)), 0)"
        if column.type == "BLOB"
        else f"coalesce(sum(strlen(#{place})), 0)"
        for place, column in enumerate(described, start=1)
        if column.type in _TEXTS
    ]
    others = [f"count(#{place})" for place, column in enumerate(described, start=1) if column.type not in _TEXTS]
    rows, *counted = single_row(connection, f"SELECT {', '.join(['count(*)', *sizes, *others])} FROM {reader}")
    needed = sum(map(int, counted[: len(sizes)]))
    nested = [place for place, column in enumerate(described) if any(part in column.type for part in _NESTED)]
    if nested:
        needed += sum(map(_nested_size, files))
    free = shutil.disk_usage(files[0].parent).free
    if needed > free:
        why = f"its texts take {needed / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB of disk are free"
        raise unreadable(source, "parquet", why, "split it")
    return rows


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
