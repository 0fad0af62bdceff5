"""Files crafted to break a bulk load: each is refused with a one-line error, or its invalid rows are quarantined."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.datasets.opened_files import InputFiles, open_files
from components.files.connection import connect
from components.files.errors import DatasetError
from components.ingestion.load_files import judge_files
from components.mapping.mapping_file import mapping_from
from components.settings import EventSettings, Settings

OUT_OF_RANGE = 2**50
T = 1_700_000_000
SETTINGS = Settings(events=EventSettings(earliest=date(1970, 1, 1)))


def parquet(**columns: Any) -> Callable[[Path], Path]:
    """A writer of three valid events with some columns replaced or added."""

    def write(folder: Path) -> Path:
        defaults = {
            "user_id": ["u", "v", "w"],
            "item_id": ["x", "y", "z"],
            "timestamp": [T, T + 1, T + 2],
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
    row = {"user_id": "u", "item_id": "x", "timestamp": T, "event": "view", **fields}
    return text_file("e.jsonl", json.dumps(row))


REFUSED = {
    "one name twice": (duplicate_column, "two columns are named user_id"),
    "one name twice, as text": (text_file("e.csv", "user_id,user_id\nu,v\n"), "two columns are named user_id"),
    "thousands of columns": (parquet(**{f"c{n}": [1, 2, 3] for n in range(1100)}), "1,104 columns, more than 1,000"),
    "thousands of keys": (json_line(**{f"c{n}": 1 for n in range(1100)}), "1,104 columns, more than 1,000"),
    "thousands of parts": (parquet(deep=[{f"c{n}": 1 for n in range(1100)}] * 3), "1,104 parts, more than 1,000"),
    "a bomb": (bomb, "GiB"),
    "deep JSON": (text_file("e.jsonl", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "nested too deeply"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_invalid_file_is_refused_and_named(kind: str, tmp_path: Path) -> None:
    write, message = REFUSED[kind]
    file = write(tmp_path)
    with connect(tmp_path / "scratch") as connection, pytest.raises(DatasetError, match=message) as raised:
        open_files(connection, InputFiles(file))
    assert str(raised.value).startswith(str(file))
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()


@dataclass(frozen=True)
class Judged:
    """The accepted users or items, and the rejected rows with their reasons."""

    accepted: list[Any]
    rejected: list[tuple[dict[str, Any], str]]

    @property
    def codes(self) -> list[str]:
        return [reason.split(":")[0] for _, reason in self.rejected]


def judge(events: Path, items: Path | None = None, role: str = "events", time_format: str | None = "seconds") -> Judged:
    """Judges files whose columns have Duotempo's names."""
    rule = {"timestamp": {"column": "timestamp", **({"format": time_format} if time_format else {})}}
    with connect(events.parent / "scratch") as connection:
        opened = open_files(connection, InputFiles(events, items), answers=mapping_from({"events": rule}))
        judge_files(connection, opened, SETTINGS, source="attack", now=datetime(2026, 1, 1, tzinfo=UTC))
        columns = "user_id" if role == "events" else "item_id, category"
        good = connection.execute(f"SELECT {columns} FROM good_{role} ORDER BY arrival").fetchall()
        bad = connection.execute(f"SELECT raw, reason FROM rejected_{role} ORDER BY arrival").fetchall()
    return Judged([row[0] if len(row) == 1 else row for row in good], [(json.loads(raw), why) for raw, why in bad])


WRONG = {
    "list of ids": (parquet(user_id=[["u"], ["v"], ["w"]]), "bad_user_id"),
    "struct as a time": (parquet(timestamp=[{"a": 1}] * 3), "bad_timestamp"),
    "bytes as a value": (parquet(value=[b"\xff", b"1", b"2"]), "bad_value"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_column_of_a_wrong_kind_rejects_its_rows(kind: str, tmp_path: Path) -> None:
    write, code = WRONG[kind]
    judged = judge(write(tmp_path))
    assert set(judged.codes) == {code}
    assert json.dumps([row for row, _ in judged.rejected])


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
    judged = judge(parquet(timestamp=TIMES[kind])(tmp_path))
    assert judged.accepted == ["u"]
    assert len(judged.rejected) == 2


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
    judged = judge(parquet(**ODD, user_id=["", "v", "w"])(tmp_path))
    assert judged.accepted == ["v", "w"]
    [(kept, reason)] = judged.rejected
    assert reason.startswith("missing_user_id")
    assert "\\u0000" not in json.dumps(kept).replace("\\\\u0000", "")
    assert "deep" in str(kept["nested"]) and "'c': [1]" in str(kept["a"])


@pytest.mark.parametrize(
    ("field", "value"), [("user_id", {"a": 1}), ("event_id", ["a"]), ("session_id", {"a": 1}), ("text", {"a": 1})]
)
def test_nested_values_are_rejected_as_ids_and_texts_of_events(field: str, value: object, tmp_path: Path) -> None:
    row = {"user_id": "u", "item_id": "x", "timestamp": T, "event": "comment", "text": "fine"}
    lines = f"{json.dumps(row)}\n{json.dumps({**row, field: value})}\n"
    judged = judge(text_file("e.jsonl", lines)(tmp_path))
    assert (judged.accepted, judged.codes) == (["u"], [f"bad_{field}"])


@pytest.mark.parametrize(("field", "value"), [("title", {"a": 1}), ("image_uri", ["a"]), ("description", {"a": 1})])
def test_nested_values_are_rejected_as_texts_of_items(field: str, value: object, tmp_path: Path) -> None:
    valid = {"item_id": "x", "title": "X", "description": "", "category": ["a", 5, None], "image_uri": "i"}
    (tmp_path / "i.jsonl").write_text(f"{json.dumps(valid)}\n{json.dumps({**valid, 'item_id': 'y', field: value})}\n")
    judged = judge(parquet()(tmp_path), tmp_path / "i.jsonl", "items")
    assert (judged.accepted, judged.codes) == ([("x", ["a", "5"])], [f"bad_{field}"])


def test_a_json_line_ends_only_at_a_line_feed(tmp_path: Path) -> None:
    row = f'{{"user_id": "u", "item_id": "x", "timestamp": {T}, "event": "comment", "text": "one\u2028two\x85three"}}'
    with connect(tmp_path / "scratch") as connection:
        open_files(connection, InputFiles(text_file("e.jsonl", f"{row}\r\n{row}\n")(tmp_path)))
        texts = connection.execute("SELECT text FROM events_in").fetchall()
    assert texts == [("one\u2028two\x85three",)] * 2
