"""Converts lines of Python dictionaries, as in the Amazon reviews of 2014, to JSON lines."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from components.core.logs import one_line
from components.files import spool
from components.files.errors import unreadable

MAGIC = b"{'"
_MAX_LINE = 4 << 20


def write_json_lines(source: object, file: Path, target: Path) -> Path:
    """Writes JSON lines. Raises DatasetError for a line that is not a Python dictionary of plain values."""
    return spool.write(source, _json_lines(source, file), target)


def _json_lines(source: object, file: Path) -> Iterator[bytes]:
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE), ""), start=1):
            if not line.strip():
                continue
            try:
                text = json.dumps(ast.literal_eval(line.strip()), ensure_ascii=False)
                yield text.encode("utf-8") + b"\n"
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
                why = one_line(str(error)) or type(error).__name__
                raise unreadable(source, "Python dictionaries", f"line {number}: {why}", "write JSON lines") from error
