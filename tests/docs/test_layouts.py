"""The statements of docs/layouts.md make files that are read without questions."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from components.datasets.opened_files import InputFiles, OpenedFiles, open_files
from components.files.connection import connect

DOCUMENT = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text(encoding="utf-8")
FILES = {
    "orders.csv": "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
    "11,1,prior,1,2,08,\n12,1,prior,2,3,07,15.0\n13,1,train,3,4,12,21.0\n",
    "order_products__prior.csv": "order_id,product_id,add_to_cart_order,reordered\n11,196,1,0\n12,196,1,1\n12,10,2,0\n",
    "order_products__train.csv": "order_id,product_id,add_to_cart_order,reordered\n13,10,1,1\n",
    "item_properties_part1.csv": "timestamp,itemid,property,value\n1435460400000,460429,categoryid,1338\n"
    "1441508400000,206783,888,1116713 960601 n277.200\n1431226800000,460429,categoryid,7\n",
    "item_properties_part2.csv": "timestamp,itemid,property,value\n1433646000000,460429,available,1\n"
    "1433646000000,206783,available,0\n1433646000000,206783,categoryid,9\n",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(tmp_path / "work", threads=1) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files, in which all statements of the document were run."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    for statement in re.findall(r"^```sql\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE):
        duckdb.connect().execute(statement)
    return tmp_path


def opened(connection: duckdb.DuckDBPyConnection, file: Path) -> OpenedFiles:
    files = open_files(connection, InputFiles(unknown=[file]))
    assert not files.questions
    return files


def test_orders_of_instacart(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    opened(connection, folder / "events.parquet")
    columns = "user_id, item_id, event, session_id, CAST(make_timestamp(CAST(timestamp * 1e6 AS BIGINT)) AS VARCHAR)"
    assert connection.execute(f"SELECT {columns} FROM events_in ORDER BY ALL").fetchall() == [
        ("1", "10", "purchase", "12", "2017-01-16 07:00:00"),
        ("1", "10", "purchase", "13", "2017-02-06 12:00:00"),
        ("1", "196", "purchase", "11", "2017-01-01 08:00:00"),
        ("1", "196", "purchase", "12", "2017-01-16 07:00:00"),
    ]


def test_items_of_retailrocket(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    opened(connection, folder / "items.parquet")
    assert connection.execute("SELECT item_id, category, available FROM items_in ORDER BY ALL").fetchall() == [
        ("206783", ["9"], "0"),
        ("460429", ["1338"], "1"),
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_files_as_they_are_say_what_to_do(name: str, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    questions = open_files(connection, InputFiles(unknown=[tmp_path / name])).questions
    assert "docs/layouts.md" in questions[0].what
