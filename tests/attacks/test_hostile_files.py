"""Files crafted to break a bulk load: each is refused with a one-line error, or its invalid rows are quarantined."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.datasets.sources import Dataset, DatasetError, read_files
from components.ingestion.clean import Cleaned, clean_events, clean_items
from components.ingestion.frames import records
from components.settings import EventSettings
from components.store.rows import EventRow

OUT_OF_RANGE = 2**50


def parquet(**columns: Any) -> Callable[[Path], Path]:
    """A writer of three valid events with some columns replaced or added."""

    def write(folder: Path) -> Path:
        defaults = {
            "user_id": ["u", "v", "w"],
            "item_id": ["x", "y", "z"],
            "timestamp": [1, 2, 3],
            "event": ["view"] * 3,
        }
        pq.write_table(pa.table({**defaults, **columns}), folder / "e.parquet")
        return folder / "e.parquet"

    return write


def duplicate_column(folder: Path) -> Path:
    names = ["user_id", "user_id", "item_id", "timestamp", "event"]
    columns = [pa.array([value]) for value in ("u", "v", "x", 1, "view")]
    pq.write_table(pa.Table.from_arrays(columns, names=names), folder / "e.parquet")
    return folder / "e.parquet"


def bomb(folder: Path) -> Path:
    """Three million rows that refer to one text of 200,000 characters: 70 kB that expand to 600 GB."""
    rows = 3_000_000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["t" * 200_000]))
    short = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["view"]))
    columns = {"user_id": short, "item_id": short, "timestamp": np.zeros(rows, np.int64), "event": short}
    pq.write_table(pa.table({**columns, "text": text}), folder / "e.parquet")
    return folder / "e.parquet"


def text_file(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8", newline="")
        return folder / name

    return write


def json_line(**fields: Any) -> Callable[[Path], Path]:
    row = {"user_id": "u", "item_id": "x", "timestamp": 1, "event": "view", **fields}
    return text_file("e.jsonl", json.dumps(row))


REFUSED = {
    "list of ids": (parquet(user_id=[["u"], ["v"], ["w"]]), "column user_id holds"),
    "struct as a time": (parquet(timestamp=[{"a": 1}] * 3), "column timestamp holds dict"),
    "bytes as a value": (parquet(value=[b"\xff", b"1", b"2"]), "column value holds bytes"),
    "decimal as an id": (parquet(user_id=pa.array([1, 2, 3], pa.decimal128(9, 2))), "column user_id holds Decimal"),
    "one name twice": (duplicate_column, "two columns are named user_id: rename one"),
    "one name twice, as text": (text_file("e.csv", "user_id,user_id\nu,v\n"), "two columns are named user_id"),
    "thousands of columns": (parquet(**{f"c{n}": [1, 2, 3] for n in range(1100)}), "1,104 columns, more than 1,000"),
    "thousands of keys": (json_line(**{f"c{n}": 1 for n in range(1100)}), "1,104 columns, more than 1,000"),
    "thousands of parts": (parquet(deep=[{f"c{n}": 1 for n in range(1100)}] * 3), "1,104 parts, more than 1,000"),
    "a bomb": (bomb, "GiB of memory"),
    "deep JSON": (text_file("e.jsonl", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "line 1 is nested too deeply"),
    "endless number": (text_file("e.jsonl", '{"a":' + "9" * 5000 + "}"), "line 1: Exceeds the limit"),
    "lone surrogates": (text_file("e.jsonl", '{"a\\ud800": 1}'), "surrogates not allowed"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_invalid_file_is_refused_and_named(kind: str, tmp_path: Path) -> None:
    write, message = REFUSED[kind]
    file = write(tmp_path)
    with pytest.raises(DatasetError, match=message) as raised:
        read_files(file, None, {})
    assert str(raised.value).startswith(str(file))
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()


def test_column_names_in_an_error_are_escaped_and_shortened(tmp_path: Path) -> None:
    names = ["\x1b[31mred\n2026-01-01 all is well", "nul\x00", "y" * 5000, *(f"c{n}" for n in range(900))]
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "e.parquet")
    with pytest.raises(DatasetError, match=r"found \\x1b\[31mred\\n2026.*nul\\x00, yyy.* and 883 more") as raised:
        read_files(tmp_path / "e.parquet", None, {})
    assert len(str(raised.value)) < 2000
    assert str(raised.value).isprintable()


TIMES = {
    "unknown time zone": pa.array([1, OUT_OF_RANGE, -OUT_OF_RANGE], pa.timestamp("ms", "Mars/Phobos")),
    "time zone, out of range": pa.array([1, OUT_OF_RANGE, -OUT_OF_RANGE], pa.timestamp("ms", "Europe/Berlin")),
    "days, out of range": pa.array([0, 2**30, -(2**30)], pa.date32()),
    "days in milliseconds, out of range": pa.array([0, 2**55, -(2**55)], pa.date64()),
    "seconds, out of range": pa.array([1, OUT_OF_RANGE, -OUT_OF_RANGE], pa.timestamp("s")),
    "whole numbers, out of range": pa.array([1, 2**64 - 1, 2**63], pa.uint64()),
}


@pytest.mark.parametrize("kind", TIMES)
def test_a_time_out_of_range_rejects_only_its_row(kind: str, tmp_path: Path) -> None:
    dataset = read_files(parquet(timestamp=TIMES[kind])(tmp_path), None, {})
    cleaned = clean(dataset)
    assert [row.user_id for row in cleaned.rows] == ["u"]
    assert len(cleaned.rejected) == 2
    assert json.dumps([rejected.row for rejected in cleaned.rejected])


ODD = {
    "nested": [[[["deep"]]], [], None],
    "bytes": [b"\xff", b"\x00", None],
    "a": [{"b": {"c": [1]}}, None, {"b": None}],
    "nul\x00, escape\x1b, line\n": [1, 2, 3],
    "": [1, 2, 3],
    "many": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
    "moment": pa.array([[1], None, []], pa.list_(pa.timestamp("us"))),
}


def test_unknown_columns_are_kept_with_a_rejected_row(tmp_path: Path) -> None:
    dataset = read_files(parquet(**ODD, user_id=["", "v", "w"])(tmp_path), None, {})
    cleaned = clean(dataset)
    assert [row.user_id for row in cleaned.rows] == ["v", "w"]
    (rejected,) = cleaned.rejected
    kept = json.loads(json.dumps(rejected.row))
    assert "\\u0000" not in json.dumps(kept).replace("\\\\u0000", "")
    assert "deep" in kept["nested"] and "'c': array([1])" in kept["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("user_id", {"a": 1}), ("item_id", True), ("event_id", ["a"]), ("session_id", {"a": 1}), ("text", ["a"])],
)
def test_nested_values_are_rejected_as_ids_and_texts_of_events(field: str, value: object, tmp_path: Path) -> None:
    row = {"user_id": "u", "item_id": "x", "timestamp": 1, "event": "comment", "text": "fine"}
    dataset = read_files(
        text_file("e.jsonl", f"{json.dumps(row)}\n{json.dumps({**row, field: value})}\n")(tmp_path), None, {}
    )
    cleaned = clean(dataset)
    assert [row.user_id for row in cleaned.rows] == ["u"]
    assert [rejected.reason.split(":")[0] for rejected in cleaned.rejected] == [f"bad_{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("title", {"a": 1}), ("category", [["a"]]), ("category", {"a": 1}), ("image_uri", ["a"]), ("description", True)],
)
def test_nested_values_are_rejected_as_texts_of_items(field: str, value: object, tmp_path: Path) -> None:
    valid = {"item_id": "x", "title": "X", "description": "", "category": ["a", 5, None], "image_uri": "i"}
    (tmp_path / "i.jsonl").write_text(f"{json.dumps(valid)}\n{json.dumps({**valid, 'item_id': 'y', field: value})}\n")
    dataset = read_files(parquet()(tmp_path), tmp_path / "i.jsonl", {})
    cleaned = clean_items(records(dataset.items), source="attack")
    assert [(row.item_id, row.category) for row in cleaned.rows] == [("x", ["a", "5"])]
    assert [rejected.reason.split(":")[0] for rejected in cleaned.rejected] == [f"bad_{field}"]


def test_a_json_line_ends_only_at_a_line_feed(tmp_path: Path) -> None:
    row = '{"user_id": "u", "item_id": "x", "timestamp": 1, "event": "comment", "text": "one\u2028two\x85three"}'
    dataset = read_files(text_file("e.jsonl", f"{row}\r\n{row}\n")(tmp_path), None, {})
    assert dataset.events["text"].tolist() == ["one\u2028two\x85three"] * 2


def clean(dataset: Dataset) -> Cleaned[EventRow]:
    return clean_events(
        records(dataset.events),
        source="attack",
        settings=EventSettings(earliest=date(1970, 1, 1)),
        known_items={"x", "y", "z"},
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
