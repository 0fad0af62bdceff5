"""A table goes between its markers, as often as one likes."""

from pathlib import Path

import pytest

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError

PAGE = "# Quality\n\n<!-- results -->\nold\n<!-- /results -->\n\nThe end.\n"


def test_what_is_between_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_between(page, "results", "| a |")
    once = page.read_text()
    assert once == "# Quality\n\n<!-- results -->\n\n| a |\n\n<!-- /results -->\n\nThe end.\n"
    write_between(page, "results", "| a |")
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["", "<!-- /results --><!-- results -->", PAGE + PAGE], ids=["none", "order", "twice"])
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BenchError, match="<!-- results -->"):
        write_between(page, "results", "| a |")
    assert page.read_text() == text


def test_a_missing_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no\.md"):
        write_between(tmp_path / "no.md", "results", "| a |")


def test_a_table_keeps_its_columns() -> None:
    assert table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
