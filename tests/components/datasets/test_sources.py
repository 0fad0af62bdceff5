"""Dataset folders, and files opened as events and items."""

import json
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection

from components.datasets.opened_files import InputFiles, OpenedFiles, open_files, shift_times
from components.datasets.sources import dataset_files, read_folder
from components.files.connection import connect
from components.files.errors import DatasetError
from components.files.table import ReadOptions
from components.mapping.mapping_file import mapping_from, mapping_text
from components.mapping.source import MappingError

LAST = datetime(2024, 6, 1, tzinfo=UTC)
START = 1_700_000_000
EVENTS = pd.DataFrame(
    {
        "user_id": ["007", "8"],
        "item_id": ["x", "N1"],
        "timestamp": [START, START + 10],
        "event": ["view", "like"],
        "value": [1.0, None],
    }
)
ITEMS = pd.DataFrame({"item_id": ["x", "N1"], "title": ["X", "N. A."], "category": ["a|b", ""]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    EVENTS.to_parquet(folder / "interactions.parquet")
    ITEMS.assign(description="later").to_parquet(folder / "items.parquet")
    (folder / "dataset.json").write_text(json.dumps({"text": ["title"]}))
    return folder


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with connect(tmp_path / "scratch") as connection:
        yield connection


def csv(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def column(connection: DuckDBPyConnection, name: str, view: str = "events_in") -> list[object]:
    return [value for (value,) in connection.execute(f"SELECT {name} FROM {view} ORDER BY row").fetchall()]


def test_a_folder_is_read(folder: Path) -> None:
    dataset = read_folder(folder)
    assert (dataset.name, dataset.text) == ("shop", ("title",))
    assert dataset.events["item_id"].tolist() == ["x", "N1"]
    assert dataset.events["timestamp"].tolist() == [START, START + 10]
    assert dataset.items["title"].tolist() == ["X", "N. A."]
    assert "description" not in dataset.items, "dataset.json does not name it as text"


def test_a_folder_with_only_events_is_read(folder: Path) -> None:
    (folder / "items.parquet").unlink()
    (folder / "dataset.json").unlink()
    dataset = read_folder(folder)
    assert dataset.text == ("title", "category", "description")
    assert dataset.items.to_dict("list") == {"item_id": ["x", "N1"]}


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_gives_the_same_events(ending: str, tmp_path: Path, connection: DuckDBPyConnection) -> None:
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
    opened = open_files(connection, InputFiles(file))
    assert (opened.questions, opened.name, opened.derived_items) == ((), "events", True)
    assert column(connection, "user_id") == ["007", "8"]
    assert column(connection, "item_id", "items_in") == ["x", "N1"]
    assert column(connection, "timestamp") == [START, START + 10]
    assert column(connection, "TRY_CAST(value AS DOUBLE)") == [1.0, None]


def test_the_roles_of_files_are_found_out(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    files = [csv(tmp_path, "a.csv", ITEMS), csv(tmp_path, "b.csv", EVENTS)]
    opened = open_files(connection, InputFiles(unknown=files))
    assert opened.files == {"items": files[0], "events": files[1]}
    assert opened.name == "b"


def test_two_files_of_one_role_are_an_error(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    files = [csv(tmp_path, "a.csv", EVENTS), csv(tmp_path, "b.csv", EVENTS)]
    with pytest.raises(DatasetError, match=r"a\.csv and .*b\.csv are both read as events; load them one after"):
        open_files(connection, InputFiles(unknown=files))


def test_columns_are_assigned(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    events = csv(tmp_path, "e.csv", pd.DataFrame({"uid": ["u"], "sku": ["x"], "at": ["2024-01-01"], "user_id": ["no"]}))
    items = csv(tmp_path, "i.csv", pd.DataFrame({"id": ["x"], "name": ["X"]}))
    names = {
        "user_id": "uid", "item_id": "sku", "items.item_id": "id", "timestamp": "at", "event": "purchase",
        "title": "name",
    }  # fmt: skip
    opened = open_files(connection, InputFiles(events, items), assignments=names)
    assert opened.questions == ()
    assert column(connection, "(user_id, item_id, event)") == [("u", "x", "purchase")]
    assert column(connection, "title", "items_in") == ["X"]


def test_a_name_that_matches_no_column_is_an_error(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    file = csv(tmp_path, "e.csv", EVENTS)
    with pytest.raises(MappingError, match="no column valuex; the columns of events are user_id, item_id"):
        open_files(connection, InputFiles(file), assignments={"value": "valuex"})
    names = {"item_id": "item_id", "timestamp": "timestamp", "event": "event"}
    with pytest.raises(MappingError, match=r"the mapping has no user_id in \[events\]; add a line user_id = COLUMN"):
        open_files(connection, InputFiles(file), mapping=mapping_from({"events": names}))
    mapping = mapping_from({"events": {**names, "user_id": "userx"}})
    with pytest.raises(MappingError, match=r"events\.user_id: no column userx; the columns are user_id"):
        open_files(connection, InputFiles(file), mapping=mapping)


def test_a_written_mapping_reads_the_next_file_alike(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    (tmp_path / "e.txt").write_bytes("Jos\xe9;x;05/07/2020;buy\nann;x;25/07/2020;pv\n".encode("latin-1"))
    options = ReadOptions(header=False, encoding="latin-1")
    names = {"user_id": "column0", "item_id": "column1", "timestamp": "column2", "event": "column3"}
    first = open_files(connection, InputFiles(tmp_path / "e.txt"), assignments=names, options=options)
    assert first.questions == ()
    (tmp_path / "next.txt").write_bytes("Ren\xe9;y;06/07/2020;pv\n".encode("latin-1"))
    mapping = mapping_from(tomllib.loads(mapping_text(first.mapping)))
    open_files(connection, InputFiles(unknown=[tmp_path / "next.txt"]), mapping=mapping)
    expected = datetime(2020, 7, 6, tzinfo=UTC).timestamp()
    assert column(connection, "(user_id, item_id, event, timestamp)") == [("René", "y", "view", expected)]


def test_an_answer_settles_a_question(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    file = csv(tmp_path, "e.csv", EVENTS.assign(timestamp="05/07/2020"))
    [question] = open_files(connection, InputFiles(file)).questions
    assert "may be day-first or month-first" in question.what
    answers = mapping_from({"events": tomllib.loads(question.line)})
    with connect(tmp_path / "again") as again:
        assert open_files(again, InputFiles(file), answers=answers).questions == ()
        assert column(again, "timestamp") == [datetime(2020, 7, 5, tzinfo=UTC).timestamp()] * 2


def test_times_without_a_zone_are_read_in_the_given_one(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    file = csv(tmp_path, "e.csv", EVENTS.assign(timestamp="2024-06-01 12:00:00"))
    opened = open_files(connection, InputFiles(file), timezone="Europe/Berlin")
    assert column(connection, "timestamp") == [datetime(2024, 6, 1, 10, tzinfo=UTC).timestamp()] * 2
    assert "Europe/Berlin" in mapping_text(opened.mapping)


def test_integers_with_missing_values_stay_integers(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    ids = pa.array([2**60 + 1, None], pa.int64())
    table = pa.table({"user_id": ids, "item_id": ["x", "y"], "timestamp": [START] * 2, "event": ["view", "view"]})
    pq.write_table(table, tmp_path / "e.parquet")
    open_files(connection, InputFiles(tmp_path / "e.parquet"))
    assert column(connection, "user_id") == [str(2**60 + 1), None]


@pytest.mark.parametrize("missing", ["user_id", "timestamp", "event"])
def test_a_missing_column_is_asked_for(missing: str, tmp_path: Path, connection: DuckDBPyConnection) -> None:
    file = csv(tmp_path, "e.csv", EVENTS.drop(columns=[missing, "value"]))
    questions = open_files(connection, InputFiles(file)).questions
    assert any(question.line.startswith(f"{missing} = ") for question in questions)


def test_a_folder_without_events_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("x")
    with pytest.raises(DatasetError, match=r"holds no interactions\.parquet \(found: ratings\.csv\).*ingest FILE"):
        dataset_files(tmp_path)
    with pytest.raises(DatasetError, match="is no folder"):
        read_folder(tmp_path / "absent")


@pytest.mark.parametrize("content", ["{", "[]", '{"text": "title"}', '{"text": ["plot"]}'])
def test_an_invalid_dataset_json_is_an_error(content: str, folder: Path) -> None:
    (folder / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        read_folder(folder)


def test_times_are_shifted_by_a_constant(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    events = EVENTS.assign(timestamp=[str(START), "soon"])
    items = csv(tmp_path, "i.csv", ITEMS.assign(published_at=pd.Series([START - 5, None])))
    open_files(connection, InputFiles(csv(tmp_path, "e.csv", events), items))
    shift = shift_times(connection, LAST)
    assert shift == LAST.timestamp() - START
    assert column(connection, "timestamp") == [LAST.timestamp(), None]
    assert column(connection, "published_at", "items_in") == [LAST.timestamp() - 5, None]


def test_times_that_cannot_be_read_are_not_shifted(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    file = csv(tmp_path, "e.csv", EVENTS.assign(timestamp=pd.Series(["soon", None])))
    open_files(connection, InputFiles(file))
    with pytest.raises(DatasetError, match="no time of an event can be read"):
        shift_times(connection, LAST)


def test_an_opened_file_has_a_name_without_its_endings(tmp_path: Path) -> None:
    for file, name in {"clicks.csv.gz": "clicks", "a.b.parquet": "a.b", "u.data": "u"}.items():
        assert OpenedFiles({"events": tmp_path / file}, {}, mapping_from({})).name == name
