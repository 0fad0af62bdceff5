"""Benchmark tables in the docs: each lies between two HTML comments and is replaced as a whole."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import BenchError


def write_between(page: Path, name: str, text: str) -> None:
    """Replaces the text between `<!-- name -->` and `<!-- /name -->`.

    Raises BenchError unless the page has each marker exactly once, in this order.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = page.read_text(encoding="utf-8") if page.is_file() else ""
    if whole.count(opening) != 1 or whole.count(closing) != 1 or whole.index(opening) > whole.index(closing):
        raise BenchError(f"{page} needs the lines {opening} and {closing}, once, in this order: the table goes between")
    before, rest = whole.split(opening)
    after = rest.split(closing)[1]
    page.write_text(f"{before}{opening}\n\n{text.strip()}\n\n{closing}{after}", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
