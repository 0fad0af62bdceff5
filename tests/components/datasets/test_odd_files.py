"""Files as spreadsheets, scripts and old systems write them: read right, asked about, or refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from components.datasets.opened_files import InputFiles, OpenedFiles, open_files
from components.files.connection import connect
from components.files.errors import DatasetError

Open = Callable[[bytes | str], OpenedFiles]
HEADER = "user_id,item_id,event,timestamp\n"
ROWS = "u1,a,view,2024-01-02 03:04:05\nu2,b,cart,2024-01-02 03:04:06\n"
READ = [("u1", "a", "view", None, 1704164645.0), ("u2", "b", "cart", None, 1704164646.0)]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(tmp_path / "work", threads=1) as opened:
        yield opened


@pytest.fixture
def opened(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> Open:
    """Writes content to a file and opens it."""

    def open_content(content: bytes | str) -> OpenedFiles:
        file = tmp_path / ("file.json" if content[:1] in ("{", b"{") else "file.csv")
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return open_files(connection, InputFiles(unknown=[file]))

    return open_content


def events(connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """The rows that are no repeated header."""
    columns = "user_id, item_id, event, value, timestamp"
    return connection.execute(f"SELECT {columns} FROM events_in ORDER BY row").fetchall()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("Orders export, January 2024\n\n" + HEADER + ROWS, "lines above the header left out: 2"),
        ("Orders export,,,\n,,,\n" + HEADER + ROWS, "lines above the header left out: 2"),
        (HEADER + ROWS.replace("\nu2", "\n# server restarted, twice\nu2"), "lines that begin with # are comments"),
        (HEADER.replace("\n", ",,\n") + ROWS.replace("\n", ",,\n") + ",,,,,\n\n,,,,,\n", None),
        ((HEADER + ROWS).replace("\n", "\r\n", 2), None),
        ("\ufeff" + HEADER + ROWS, None),
        ("{'user_id': 'u1', 'item_id': 'a', 'event': 'view', 'timestamp': 1704164645, 'x': None}\n"
         "{'user_id': 'u2', 'item_id': 'b', 'event': 'cart', 'timestamp': 1704164646}\n", "Python dictionaries"),
    ],
)  # fmt: skip
def test_what_is_around_the_rows_is_left_out(
    content: str, note: str | None, opened: Open, connection: duckdb.DuckDBPyConnection
) -> None:
    files = opened(content)
    assert not files.questions
    assert events(connection) == READ
    assert note is None or note in files.tables["events"].notes


def test_ids_may_begin_with_a_hash(opened: Open, connection: duckdb.DuckDBPyConnection) -> None:
    opened(HEADER + "#1,a,view,2024-01-02\n#2,b,cart,2024-01-02\n")
    assert [row[0] for row in events(connection)] == ["#1", "#2"]


def test_a_line_of_a_text_may_begin_with_a_hash(opened: Open, connection: duckdb.DuckDBPyConnection) -> None:
    opened('item_id,title\n# a comment\na,"first\n# second"\nb,third\n')
    assert connection.execute("SELECT title FROM items_in ORDER BY row").fetchall() == [
        ("first\n# second",),
        ("third",),
    ]


@pytest.mark.parametrize(
    ("separator", "values", "read"),
    [
        (",", ['"1,234.50"', '"2,000"'], [1234.5, 2000.0]),
        (",", ["$12.50", "3.00 USD"], [12.5, 3.0]),
        (";", ["1.234,50 €", "3,20 €"], [1234.5, 3.2]),
        (";", ["1 234,50", "1,5"], [1234.5, 1.5]),
        (",", ['"1,234,567"', "5"], [1234567.0, 5.0]),
    ],
)
def test_prices_with_separators_and_currencies(
    separator: str, values: list[str], read: list[float], opened: Open, connection: duckdb.DuckDBPyConnection
) -> None:
    rows = [["user_id", "item_id", "event", "price", "timestamp"]]
    rows += [["u", f"i{number}", "purchase", value, "2024-01-02"] for number, value in enumerate(values)]
    files = opened("".join(separator.join(row) + "\n" for row in rows))
    assert not files.questions
    assert [float(str(row[3])) for row in events(connection)] == read


@pytest.mark.parametrize("values", [["1,234", "2"], ["1,5", "1,234.00"]])
def test_an_unclear_comma_is_asked_about(values: list[str], opened: Open) -> None:
    rows = [f'u,i{number},"{value}",2024-01-02\n' for number, value in enumerate(values)]
    questions = opened("user_id,item_id,quantity,timestamp\n" + "".join(rows)).questions
    assert "comma" in questions[0].what
    assert "decimal_comma = true" in questions[0].line


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("Tue, 02 Jan 2024 03:04:05", 1704164645.0),
        ("Wednesday, January 3, 2024", 1704240000.0),
        ("Tue, Jan 2, 2024", 1704153600.0),
        ("2024-01-02 3:04 PM", 1704207840.0),
        ("31/12/23", 1703980800.0),
        ("12/31/99 11:59 PM", 946684740.0),
    ],
)
def test_dates_in_words_with_clocks_of_12_hours_and_short_years(
    time: str, seconds: float, opened: Open, connection: duckdb.DuckDBPyConnection
) -> None:
    assert not opened(f'{HEADER}u1,a,view,"{time}"\n').questions
    assert events(connection)[0][4] == seconds


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("user_id,item_id,event,date,time\nu1,a,view,2024-01-02,03:04:05\n", "times of day"),
        (HEADER + "u1,a,view,\nu2,b,view,NULL\n", "holds no value"),
        (HEADER + "u1,a,view,yesterday\n", "fits only 0%"),
        ("A,B,Größe\nx,y,z\n", "no column is known to hold item_id"),
    ],
)
def test_what_cannot_be_told_is_asked(content: str, what: str, opened: Open) -> None:
    assert what in opened(content).questions[0].what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"count": 2, "data": [{"user_id": "u"}]}', "its only object holds the rows in data"),
        (HEADER + 'u1,"a,view,2024-01-02\nu2,b,cart,2024-01-02\n', "--quote"),
        (HEADER + "u1,a,b,view,2024-01-02\n", "--delimiter"),
        ((HEADER + "u1,\0a,view,2024-01-02\n").encode(), "binary"),
        ("item_id,title\na,Příliš žluťoučký kůň\n".encode("cp1250"), "--encoding cp1250"),
        ("user_id,item_id,item_id\nu1,a,b\n", "two columns are named item_id"),
    ],
)
def test_what_would_be_misread_is_refused(content: bytes | str, what: str, opened: Open) -> None:
    with pytest.raises(DatasetError, match=what):
        opened(content)


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("koi8-r", "Съешь ещё этих мягких французских булок"), ("koi8-r", "ВОЙНА И МИР"), ("cp1251", "ВОЙНА И МИР"),
        ("cp1251", "Съешь ещё этих мягких французских булок"), ("shift-jis", "吾輩は猫である。名前はまだ無い"),
        ("big5", "紅樓夢是中國古典小說"), ("cp1252", "Crème brûlée für Åsa"),
    ],
)  # fmt: skip
def test_encodings_are_told_apart(
    encoding: str, title: str, opened: Open, connection: duckdb.DuckDBPyConnection
) -> None:
    opened(f"item_id,title\na,{title}\n".encode(encoding))
    assert connection.execute("SELECT title FROM items_in").fetchall() == [(title,)]


def test_long_values_are_whole(opened: Open, connection: duckdb.DuckDBPyConnection) -> None:
    opened(f"item_id,title\na,{'x' * 10_000}\nb,short\n")
    assert connection.execute("SELECT length(title) FROM items_in ORDER BY row").fetchall() == [(10_000,), (5,)]


def test_a_totals_line_is_no_event(opened: Open, connection: duckdb.DuckDBPyConnection) -> None:
    opened("user_id,item_id,event,price,timestamp\nu1,a,purchase,10.5,2024-01-02\nTotal,,,10.5,\n")
    assert events(connection)[1] == ("Total", None, None, "10.5", None)
