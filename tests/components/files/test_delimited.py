"""Delimited text: its delimiter, quotes and header are found out, and a line that does not fit is named."""

import csv
import io
import stat
from pathlib import Path
from typing import Literal

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.files.opening import open_table
from tests.components.files.conftest import Open, Refused

ROWS = [["007", "Alien, 1979", "5"], ["8", "Brazil", "4"]]
BODY = [("007", "Alien, 1979", "5"), ("8", "Brazil", "4")]
NAMES = ["user_id", "title", "stars"]


def text(delimiter: str, end: str = "\n") -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerows([NAMES, *ROWS])
    return buffer.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "\x01"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows.dat", "rows"])
def test_the_delimiter_is_found_whatever_the_ending(delimiter: str, name: str, open_file: Open) -> None:
    table, rows = open_file(name, text(delimiter))
    assert (table.format, table.header, table.rows) == ("csv", True, 2)
    assert [(column.name, column.type) for column in table.columns] == [(name, "VARCHAR") for name in NAMES]
    assert rows == BODY


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_kind_of_line_end_is_read(end: str, open_file: Open) -> None:
    assert open_file("rows.csv", text(",", end))[1] == BODY
    assert open_file("rows.csv", "\ufeff" + text(",", end))[0].columns[0].name == "user_id"


def test_mixed_line_ends_are_read(open_file: Open) -> None:
    content = "a,b\r\n1,x\n2,y\r\n3,multi\rple\n" + '4,"in\r\nquotes"\n'
    _, rows = open_file("rows.csv", content)
    assert rows == [("1", "x"), ("2", "y"), ("3", "multi ple"), ("4", "in\nquotes")]


def test_double_colons_separate(open_file: Open) -> None:
    table, rows = open_file("ratings.dat", "1::Alien: the film::5\n2::Up::3\n")
    assert rows == [("1", "Alien: the film", "5"), ("2", "Up", "3")]
    assert "delimiter ::" in table.notes
    assert "no header: columns are named column0 to column2" in table.notes


def test_a_semicolon_separates_numbers_with_decimal_commas(open_file: Open) -> None:
    assert open_file("rows.csv", "1;2,5;3,7\n2;3,5;4,7\n")[1] == [("1", "2,5", "3,7"), ("2", "3,5", "4,7")]


def test_a_named_delimiter_header_and_quote_apply(open_file: Open) -> None:
    assert open_file("rows.txt", "1 2\n3 4\n", delimiter=" ")[1] == [("1", "2"), ("3", "4")]
    assert open_file("rows.csv", "1,2\n3,4\n", header=True)[1] == [("3", "4")]
    assert open_file("rows.csv", "a,b\nc,d\n", header=False)[1] == [("a", "b"), ("c", "d")]
    assert open_file("rows.csv", "a,b\n'x,y',z\n", quote="'")[1] == [("x,y", "z")]
    assert open_file("rows.csv", 'a,b\n"x,y"\n', quote="")[1] == [('"x', 'y"')]


def test_the_delimiter_that_excel_is_told_is_used(open_file: Open) -> None:
    assert open_file("rows.csv", "sep=|\na|b,c\n1|2,3\n")[1] == [("1", "2,3")]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("user,item\nann,lamp\nbob,sofa\n", True),
        ("1,2268318,pv\n1,2333346,buy\n", False),
        ("ann,lamp,view\nbob,sofa,view\n", False),
        ("ann,lamp,2024-01-02 10:00\nbob,sofa,2024-01-03 10:00\n", False),
        (",user,item\n0,ann,lamp\n", True),
        ("user,item\nann,lamp\nuser,item\nbob,sofa\n", True),
        ("user_id:token,rating:float\n1,2\n", True),
    ],
)
def test_a_header_is_told_from_a_row(content: str, header: bool, open_file: Open) -> None:
    table, rows = open_file("rows.csv", content)
    assert table.header is header
    assert table.rows == len(rows) == content.count("\n") - header
    assert any(note.startswith("no header") for note in table.notes) is not header


def test_a_column_without_a_name_is_called_after_its_place(open_file: Open) -> None:
    assert [column.name for column in open_file("rows.csv", ", user ,item\n0,ann,lamp\n")[0].columns] == [
        "column0",
        "user",
        "item",
    ]


def test_comment_lines_before_the_rows_are_skipped(open_file: Open) -> None:
    table, rows = open_file("rows.csv", '# made by "us"\n\n# 2024\nuser,item\n#7,x # y\n')
    assert rows == [("#7", "x # y")]
    assert "2 comment lines before the rows" in table.notes
    table, rows = open_file("rows.tsv", "# user\titem\n1\t2\n")
    assert [column.name for column in table.columns] == ["user", "item"]
    assert rows == [("1", "2")]


def test_an_empty_comment_line_is_skipped(open_file: Open) -> None:
    assert open_file("ratings.dat", "#\n1::2\n")[1] == [("1", "2")]


def test_quotes_in_later_rows_are_understood(open_file: Open) -> None:
    content = "a,b\n" + "1,x\n" * 200_000 + '2,"say ""hi"", you"\n'
    table, rows = open_file("rows.csv", content)
    assert rows[-1] == ("2", 'say "hi", you')
    assert table.rows == 200_001


def test_backslash_escapes_are_understood_and_noted(open_file: Open) -> None:
    table, rows = open_file("rows.csv", 'id,title,genre\n1,"Call of \\"The Wild\\", part 1",Drama\n\\N,Alien,x\n')
    assert rows == [("1", 'Call of "The Wild", part 1', "Drama"), ("\\N", "Alien", "x")]
    assert "escape character \\" in table.notes
    assert open_file("rows.csv", 'a,b\n"C:\\","D:\\new"\n')[1] == [("C:\\", "D:\\new")]


def test_quotes_in_tab_separated_text_stay_unless_they_enclose_values(open_file: Open) -> None:
    _, rows = open_file("rows.tsv", 'id\ttitle\n1\t"Heroes\n2\tLow\n3\t"Weird Al" Yankovic\n4\t5"\n')
    assert rows == [("1", '"Heroes'), ("2", "Low"), ("3", '"Weird Al" Yankovic'), ("4", '5"')]
    table, rows = open_file("rows.tsv", 'id\ttitle\n1\t"a\tb ""c"""\n"2"\tLow\n')
    assert rows == [("1", 'a\tb "c"'), ("2", "Low")]
    assert "values in double quotes" in table.notes


def test_blank_lines_and_empty_values_are_missing(open_file: Open) -> None:
    assert open_file("rows.csv", 'a,b\n\n1,\n2,""\n\n')[1] == [("1", None), ("2", None)]
    assert open_file("items.csv", "item_id\nx\n\ny\n")[1] == [("x",), ("y",)]


def test_an_unquoted_comma_is_refused_with_its_line(refused: Refused) -> None:
    message = refused("items.csv", "id,title,genre\n1,City of Lost Children, The,Drama\n2,Alien,Sci-Fi\n")
    assert "line 2 has 4 fields, the header has 3: 1,City of Lost Children, The,Drama" in message
    assert "between double quotes" in message


def test_a_later_line_that_does_not_fit_is_named(refused: Refused) -> None:
    body = "a,b\n" + "1,2\n" * 50_000
    assert "line 50,002 has 3 fields, the header has 2: 1,2,3" in refused("rows.csv", body + "1,2,3\n")
    assert "line 50,002 has 1 fields, the header has 2: x" in refused("rows.csv", body + "x\n")
    assert "line 2 has a double quote that is not closed" in refused("rows.csv", 'a,b\n1,"open\n' + "1,2\n" * 1000)
    assert "line 2 has 2 fields, the header has 1" in refused("rows.csv", "a\n1,2\n1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("# nothing\n", "holds no rows"),
        ("user,item\n", "holds no rows"),
        ("user,item,user\n1,2,3\n", "two columns are named user: rename one"),
        ("user,User\n1,2\n", "two columns are named user and User: rename one"),
        (",".join(f"c{n}" for n in range(1001)) + "\n", "1,001 columns, more than 1,000"),
        ("a,b\n1," + "x" * 3_000_000 + "\n", "line 2 is longer than 2 MB"),
    ],
)
def test_a_text_without_usable_rows_is_refused(content: str, message: str, refused: Refused) -> None:
    assert message in refused("rows.csv", content)


def test_a_missing_file_is_refused(refused: Refused) -> None:
    assert "does not exist" in refused("rows.csv")


def test_paths_with_special_characters_are_opened(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    folder = tmp_path / "it's [here] *?"
    folder.mkdir()
    (folder / "a'[1]*.csv").write_text("a,b\n1,2\n")
    assert open_table(connection, str(folder / "a'[1]*.csv"), 'odd "view"').rows == 1
    assert connection.execute('FROM "odd ""view"""').fetchall() == [("1", "2")]


def test_only_the_owner_may_enter_the_folder_and_extensions_are_off(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    assert stat.S_IMODE((tmp_path / "work").stat().st_mode) == 0o700
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
        assert connection.execute(f"SELECT current_setting('{setting}')").fetchone() == (False,)


CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))
VALUES = st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS) | st.sampled_from('\n\t",;|\\'), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6).filter(lambda rows: any(map(any, rows))),
    delimiter=st.sampled_from(",;|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_a_csv_writer_writes_is_read(
    rows: list[tuple[str, ...]], delimiter: str, quoting: Literal[0, 1], open_file: Open
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerow(["id", "title", "genre"])
    writer.writerows(rows)
    _, read = open_file("rows.csv", buffer.getvalue())
    assert read == [tuple(value or None for value in row) for row in rows if any(row)]
