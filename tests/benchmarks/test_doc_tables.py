"""Benchmark tables are written between their markers, repeatably."""

from pathlib import Path

import pytest

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError

PAGE = "# Quality\n\n<!-- results -->\nold\n<!-- /results -->\n\nThe end.\n"


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_between(page, "results", "| a |")
    once = page.read_text()
    assert once == "# Quality\n\n<!-- results -->\n\n| a |\n\n<!-- /results -->\n\nThe end.\n"
    write_between(page, "results", "| a |")
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["", "<!-- /results --><!-- results -->", PAGE + PAGE], ids=["none", "order", "twice"])
def test_a_page_with_bad_markers_is_not_changed(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BenchError, match="<!-- results -->"):
        write_between(page, "results", "| a |")
    assert page.read_text() == text


def test_a_missing_page_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no\.md"):
        write_between(tmp_path / "no.md", "results", "| a |")


def test_pipes_in_cells_are_escaped() -> None:
    assert table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
