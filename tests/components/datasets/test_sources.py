"""Datasets from files: supported formats, and error messages for invalid files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.datasets.sources import Dataset, DatasetError, read_files, read_folder, shift_to

LAST = datetime(2024, 6, 1, tzinfo=UTC)
EVENTS = pd.DataFrame(
    {
        "user_id": ["007", "8"],
        "item_id": ["x", "NA"],
        "timestamp": [10, 20],
        "event": ["view", "like"],
        "value": [1.0, None],
    }
)
ITEMS = pd.DataFrame({"item_id": ["x", "NA"], "title": ["X", "N. A."], "category": ["a|b", ""]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    EVENTS.to_parquet(folder / "interactions.parquet")
    ITEMS.to_parquet(folder / "items.parquet")
    (folder / "dataset.json").write_text(json.dumps({"text": ["title"]}))
    return folder


def test_a_folder_is_read(folder: Path) -> None:
    dataset = read_folder(folder)
    assert (dataset.name, dataset.text) == ("shop", ("title",))
    assert dataset.events["item_id"].tolist() == ["x", "NA"]
    assert dataset.items["title"].tolist() == ["X", "N. A."]


def test_a_folder_with_only_events_is_read(folder: Path) -> None:
    (folder / "items.parquet").unlink()
    (folder / "dataset.json").unlink()
    dataset = read_folder(folder)
    assert dataset.text == ("title", "category", "description")
    assert dataset.items.to_dict("list") == {"item_id": ["x", "NA"]}


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_gives_the_same_events(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"events.{ending}"
    match ending:
        case "csv":
            EVENTS.to_csv(file, index=False)
        case "tsv":
            EVENTS.to_csv(file, index=False, sep="\t")
        case "parquet":
            EVENTS.to_parquet(file)
        case _:
            EVENTS.to_json(file, orient="records", lines=True)
    events = read_files(file, None, {}).events
    assert events["user_id"].tolist() == ["007", "8"]
    assert events["item_id"].tolist() == ["x", "NA"]
    assert events["timestamp"].astype(float).tolist() == [10, 20]
    assert events["value"].isna().tolist() == [False, True]


def test_columns_are_mapped(tmp_path: Path) -> None:
    pd.DataFrame({"uid": ["u"], "sku": ["x"], "at": ["2024-01-01"], "user_id": ["not this"]}).to_csv(
        tmp_path / "e.csv", index=False
    )
    pd.DataFrame({"id": ["x"], "name": ["X"]}).to_csv(tmp_path / "i.csv", index=False)
    mapping = {
        "user_id": "uid",
        "item_id": "sku",
        "items.item_id": "id",
        "timestamp": "at",
        "event": "purchase",
        "title": "name",
    }
    dataset = read_files(tmp_path / "e.csv", tmp_path / "i.csv", mapping)
    assert dataset.events.to_dict("records") == [
        {"user_id": "u", "item_id": "x", "timestamp": "2024-01-01", "event": "purchase"}
    ]
    assert dataset.items.to_dict("records") == [{"item_id": "x", "title": "X"}]


def test_integers_with_missing_values_stay_integers(tmp_path: Path) -> None:
    ids = pa.array([2**60 + 1, None], pa.int64())
    table = pa.table({"user_id": ids, "item_id": ["x", "y"], "timestamp": [1, 2], "event": ["view", "view"]})
    pq.write_table(table, tmp_path / "e.parquet")
    assert read_files(tmp_path / "e.parquet", None, {}).events["user_id"][0] == 2**60 + 1


def read_error(events: Path, items: Path | None = None, mapping: dict[str, str] | None = None) -> str:
    with pytest.raises(DatasetError) as raised:
        read_files(events, items, mapping or {})
    assert str(events if items is None else items) in str(raised.value)
    return str(raised.value)


def test_a_missing_column_error_lists_columns_and_the_fix(tmp_path: Path) -> None:
    EVENTS.rename(columns={"user_id": "uid"}).to_csv(tmp_path / "e.csv", index=False)
    message = read_error(tmp_path / "e.csv")
    assert "no column user_id; found uid, item_id, timestamp, event, value" in message
    assert "--map user_id=COLUMN" in message


def test_a_missing_event_column_error_suggests_a_constant(tmp_path: Path) -> None:
    EVENTS.drop(columns="event").to_csv(tmp_path / "e.csv", index=False)
    assert "--map event=rating" in read_error(tmp_path / "e.csv")
    assert "no column event" in read_error(tmp_path / "e.csv", mapping={"event": "gaze"})


def test_items_without_an_id_are_refused(tmp_path: Path) -> None:
    EVENTS.to_csv(tmp_path / "e.csv", index=False)
    ITEMS.drop(columns="item_id").to_csv(tmp_path / "i.csv", index=False)
    assert "no column item_id; found title, category" in read_error(tmp_path / "e.csv", tmp_path / "i.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", "is empty"),
        ("e.csv", b"user_id,item_id,timestamp,event\n", "holds no rows"),
        ("e.csv", b"user_id,item_id,timestamp,event\n\xff\xfe,x,1,view\n", "save it as UTF-8"),
        ("e.csv", b'user_id,item_id\nu,x,"open\n', "cannot be read as csv"),
        ("e.parquet", b"PAR1 but no more", "cannot be read as parquet"),
        ("e.jsonl", b'{"user_id": "u"}\n[1, 2]\n', "line 2 is not a JSON object"),
        ("e.jsonl", b'{"user_id": \n', "cannot be read as jsonl"),
        ("e.xlsx", b"PK", "the extension is none of .csv, .tsv, .parquet, .jsonl"),
    ],
)
def test_an_unreadable_file_error_says_how_to_fix_it(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in read_error(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert "does not exist" in read_error(tmp_path / "e.csv")


@pytest.mark.parametrize(
    ("column", "values", "holds"),
    [
        ("user_id", [["u"], ["v"]], "ndarray"),
        ("timestamp", [True, False], "bool"),
        ("value", ["good", "bad"], "str"),
        ("event", [1, 2], "int"),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error(column: str, values: list[Any], holds: str, tmp_path: Path) -> None:
    EVENTS.assign(**{column: values}).to_parquet(tmp_path / "e.parquet")
    assert f"column {column} holds {holds}, it needs one of" in read_error(tmp_path / "e.parquet")


def test_a_folder_without_events_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("x")
    with pytest.raises(DatasetError, match=r"holds no interactions\.parquet \(found: ratings\.csv\).*--events FILE"):
        read_folder(tmp_path)
    with pytest.raises(DatasetError, match="is no folder"):
        read_folder(tmp_path / "absent")


@pytest.mark.parametrize("content", ["{", "[]", '{"text": "title"}', '{"text": ["plot"]}'])
def test_an_invalid_dataset_json_is_an_error(content: str, folder: Path) -> None:
    (folder / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        read_folder(folder)


def test_times_are_shifted_by_a_constant() -> None:
    items = ITEMS.assign(published_at=pd.Series([5, None]))
    shifted, seconds = shift_to(Dataset("shop", EVENTS, items), LAST)
    assert seconds == LAST.timestamp() - 20
    assert shifted.events["timestamp"].tolist() == [LAST.timestamp() - 10, LAST.timestamp()]
    assert shifted.events["timestamp"].dtype == "int64"
    assert shifted.items["published_at"][0] == 5 + seconds
    assert EVENTS["timestamp"].tolist() == [10, 20]


def test_unparsable_times_stay_unchanged() -> None:
    events = EVENTS.assign(timestamp=["1970-01-01T00:00:10", "soon"])
    shifted, seconds = shift_to(Dataset("shop", events, ITEMS), LAST)
    assert shifted.events["timestamp"].tolist() == [LAST.timestamp(), "soon"]
    milliseconds = EVENTS.assign(timestamp=[10, 1_700_000_000_000])
    assert shift_to(Dataset("shop", milliseconds, ITEMS), LAST)[1] == seconds
    with pytest.raises(DatasetError, match="no timestamp can be read"):
        shift_to(Dataset("shop", EVENTS.assign(timestamp=pd.Series(["soon", None])), ITEMS), LAST)
