"""Workbooks: a sheet's cells are read as text, with whole numbers and ISO times."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.components.files.conftest import Open, Refused

DATE_STYLE = 1
HEADER = ["CustomerID", "InvoiceDate", "Price"]


def cell(value: object) -> str:
    if isinstance(value, tuple):
        return f'<c s="{DATE_STYLE}"><v>{value[0]}</v></c>'
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return "<c/>" if value is None else f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def workbook(**sheets: Sequence[Sequence[object]]) -> bytes:
    """A workbook of sheets by name; a number in a tuple is the serial of a time."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    numbered = list(enumerate(sheets.items(), start=1))
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{relations}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"/>' for n, (name, _) in numbered)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        + "".join(
            f'<Relationship Id="s{n}" Type="{relations}/worksheet" Target="worksheets/{n}.xml"/>' for n, _ in numbered
        )
        + f'<Relationship Id="styles" Type="{relations}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
        "</styleSheet>",
    }
    for n, (_, rows) in numbered:
        lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        parts[f"xl/worksheets/{n}.xml"] = f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ROWS: list[list[object]] = [
    [*HEADER],
    [17850.0, (40513.5,), 2.55],
    [None, None, None],
    [17851, "13/1/2010", None],
    ["007", True, 0],
]


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.data"])
def test_the_only_sheet_is_read(name: str, open_file: Open) -> None:
    table, rows = open_file(name, workbook(Sales=ROWS))
    assert (table.format, table.header, table.rows, table.notes) == ("excel", True, 3, ())
    assert [(column.name, column.type) for column in table.columns] == [(name, "VARCHAR") for name in HEADER]
    assert rows == [
        ("17850", "2010-12-01 12:00:00", "2.55"),
        ("17851", "13/1/2010", None),
        ("007", "true", "0"),
    ]


def test_the_first_filled_sheet_is_read_unless_one_is_named(open_file: Open, refused: Refused) -> None:
    content = workbook(Cover=[], Sales=ROWS, Items=[["id", "title"], [1, "A, b"]])
    table, _ = open_file("rows.xlsx", content)
    assert table.notes == ("sheet Sales (not read: Cover, Items)",)
    table, rows = open_file("rows.xlsx", content, sheet="Items")
    assert rows == [("1", "A, b")]
    assert table.notes == ("sheet Items (not read: Cover, Sales)",)
    assert "has no sheet Item; its sheets are Cover, Sales, Items" in refused("rows.xlsx", content, sheet="Item")


def test_texts_with_line_breaks_and_quotes_are_kept(open_file: Open) -> None:
    _, rows = open_file("rows.xlsx", workbook(Items=[["id", "title"], ["1", 'say "hi",\nyou'], ["#2", "\\x"]]))
    assert rows == [("1", 'say "hi",\nyou'), ("#2", "\\x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK", "cannot be read as excel"),
        (workbook(Sales=ROWS)[:-100], "cannot be read as excel"),
        (workbook(Sales=[]), "is empty"),
        (workbook(Sales=[HEADER]), "holds no rows"),
        (workbook(Sales=[["id", "id"], [1, 2]]), "two columns are named id"),
    ],
)
def test_an_unusable_workbook_is_refused(content: bytes, message: str, refused: Refused) -> None:
    assert message in refused("rows.xlsx", content)


def test_a_workbook_beyond_the_memory_is_refused(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=100_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    content = workbook(Sales=[["id"], ["x" * 200_000]])
    assert len(content) < 10_000
    assert "GiB of memory" in refused("rows.xlsx", content)


def test_a_workbook_in_an_archive_is_read(open_file: Open, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.xlsx", workbook(Sales=ROWS))
    table, rows = open_file("rows.zip")
    assert table.format == "excel"
    assert len(rows) == 3
