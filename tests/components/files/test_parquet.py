"""Parquet: files, folders, patterns and partitions; times in UTC, and nothing that expands beyond the disk."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.files.opening import open_table
from components.files.table import Table
from tests.components.files.conftest import Open, Refused, Rows

FAR = 2**50


def opened(connection: duckdb.DuckDBPyConnection, source: object) -> tuple[Table, Rows]:
    return open_table(connection, str(source), "rows"), connection.execute('FROM "rows"').fetchall()


def parquet(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.mark.parametrize("name", ["rows.parquet", "rows.dat", "rows"])
def test_a_file_keeps_its_types(name: str, tmp_path: Path, open_file: Open) -> None:
    columns = {"id": pa.array([2**60 + 1, None], pa.int64()), "title": ["a", None], "tags": [["x"], []]}
    pq.write_table(pa.table(columns), tmp_path / name)
    table, rows = open_file(name)
    assert (table.format, table.header, table.rows, table.notes) == ("parquet", True, 2, ())
    assert [(column.name, column.type) for column in table.columns] == [
        ("id", "BIGINT"),
        ("title", "VARCHAR"),
        ("tags", "VARCHAR[]"),
    ]
    assert rows == [(2**60 + 1, "a", ["x"]), (None, None, [])]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_with_a_zone_are_in_utc(unit: str, tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    times = pa.array([1_700_000_000_000], pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp(unit))
    table, rows = opened(connection, parquet(tmp_path, at=times.cast(pa.timestamp(unit, "Asia/Shanghai"))))
    assert table.columns[0].type == "TIMESTAMP"
    assert str(rows[0][0]) == "2023-11-14 22:13:20"
    assert table.notes == ("times in UTC: at",)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1, FAR, -FAR], pa.timestamp("s")),
        pa.array([1000, 100 * FAR, -100 * FAR], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([1000, 100 * FAR, -100 * FAR], pa.timestamp("ms", "Mars/Phobos")),
    ],
    ids=str,
)
def test_a_time_out_of_range_is_missing_in_its_row_only(
    times: pa.Array, tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    table, rows = opened(connection, parquet(tmp_path, at=times, id=["u", "v", "w"]))
    assert [(str(at), user) for at, user in rows] == [("1970-01-01 00:00:01", "u"), ("None", "v"), ("None", "w")]
    assert "times beyond the calendar are missing" in table.notes


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, FAR, -FAR], pa.timestamp("ms", "Mars/Phobos")),
        pa.array([0, 2**30, -(2**30)], pa.date32()),
        pa.array([0, 2**55, -(2**55)], pa.date64()),
        pa.array([1, 2**64 - 1, 2**63], pa.uint64()),
        pa.array([b"\xff", b"\x00", None]),
        pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        pa.array([{"b": {"c": [1]}}, None, {"b": None}]),
        pa.array([[[["deep"]]], [], None]),
        pa.array([1, 2, 3], pa.decimal128(9, 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_unusual_columns_are_opened(column: pa.Array, tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    parquet(tmp_path, odd=column, id=["u", "v", "w"])
    open_table(connection, tmp_path / "rows.parquet", "rows")
    assert connection.execute('SELECT id, odd::VARCHAR FROM "rows"').fetchall()[2][0] == "w"


def test_unusual_names_are_kept(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    table, _ = opened(connection, parquet(tmp_path, **{"nul\x00, line\n": [1], "": [2], 'a"b': [3]}))
    assert [column.name for column in table.columns] == ["nul\x00, line", "column1", 'a"b']


def test_folders_patterns_and_partitions_are_read_in_order(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    for day, user in (("007", "u"), ("008", "v")):
        folder = tmp_path / "log" / f"day={day}"
        folder.mkdir(parents=True)
        parquet(folder, user=[user, user])
        (folder / "_SUCCESS").touch()
        (folder / "_temporary.parquet").write_bytes(b"PAR1")
    table, rows = opened(connection, tmp_path / "log")
    assert [(column.name, column.type) for column in table.columns] == [("user", "VARCHAR"), ("day", "VARCHAR")]
    assert rows == [("u", "007"), ("u", "007"), ("v", "008"), ("v", "008")]
    assert table.notes == ("2 files", "partitioned by day")
    assert opened(connection, tmp_path / "log" / "*" / "*.parquet")[1] == rows
    assert opened(connection, tmp_path / "log" / "**" / "rows.parquet")[0].rows == 4


def test_files_of_different_columns_are_joined_by_name(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    pq.write_table(pa.table({"user": ["u"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"item": ["x"], "user": ["v"]}), tmp_path / "2.parquet")
    table, rows = opened(connection, tmp_path / "?.parquet")
    assert rows == [("u", None), ("v", "x")]
    assert table.notes == ("2 files",)


def test_a_text_that_expands_beyond_the_disk_is_refused(tmp_path: Path, refused: Refused) -> None:
    """Three million rows that refer to one text of 200,000 characters: 70 kB that expand to 600 GB."""
    rows = 3_000_000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["t" * 200_000]))
    parquet(tmp_path, text=text)
    assert "its texts take 558.8 GiB" in refused("rows.parquet")
    few = text.slice(0, 1_000_000)
    parquet(tmp_path, nested=pa.StructArray.from_arrays([few], names=["text"]))
    assert "its texts take 186.3 GiB" in refused("rows.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({f"c{n}": [1] for n in range(1100)}, "1,100 columns, more than 1,000"),
        ({"deep": [{f"c{n}": 1 for n in range(1100)}]}, "1,100 parts, more than 1,000"),
        ({"id": pa.array([], pa.string())}, "holds no rows"),
        ({"id": [1], "ID": [2]}, "two columns are named id and ID: rename one"),
    ],
)
def test_a_file_with_unusable_columns_is_refused(
    columns: dict[str, Any], message: str, tmp_path: Path, refused: Refused
) -> None:
    parquet(tmp_path, **columns)
    assert message in refused("rows.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path: Path, refused: Refused) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["u"]), pa.array(["v"])], names=["id", "id"]), tmp_path / "r.parquet")
    assert "two columns are named id: rename one" in refused("r.parquet")


def test_damaged_files_are_refused(tmp_path: Path, refused: Refused) -> None:
    assert "cannot be read as parquet" in refused("rows.parquet", "PAR1 but no more")
    assert "cannot be read as parquet" in refused("rows.parquet", "id,title\n1,x\n")
    whole = parquet(tmp_path, id=list(range(100_000))).read_bytes()
    assert "cannot be read as parquet" in refused("rows.parquet", whole[:-100])
    assert "cannot be read as parquet" in refused(
        "rows.parquet", whole[:1000] + bytes(len(whole) - 1500) + whole[-500:]
    )


def test_a_text_that_is_not_utf_8_is_refused_early(tmp_path: Path, refused: Refused) -> None:
    content = parquet(tmp_path, title=["plain", "Amelie"]).read_bytes().replace(b"Amelie", b"Am\xe9lie")
    assert "is not valid UTF8" in refused("rows.parquet", content)


def test_folders_and_patterns_without_parquet_are_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "folder").mkdir()
    assert "holds no Parquet files" in refused("folder")
    assert "holds no Parquet files" in refused("folder/*.parquet")
    (tmp_path / "folder" / "a.parquet").write_text("id\n1\n")
    assert "is not Parquet; only Parquet is read from several files" in refused("folder")
