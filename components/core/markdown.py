"""Pages in Markdown, as MLflow and Prefect show them, of text that may be anybody's."""

import re
from collections.abc import Sequence

from components.core.plain import one_line

_SYNTAX = re.compile(r"[\\`*|]|\](?=[(\[])")
_ADDRESS = re.compile(r"(?<=\w):(?=/)|(?<=www)\.", re.IGNORECASE)


def escaped(text: str) -> str:
    """The text as itself, in one line: no link, image, HTML, emphasis, code or cell of a table comes of it."""
    line = _SYNTAX.sub(r"\\\g<0>", one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _ADDRESS.sub(lambda found: f"&#{ord(found[0])};", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are text, `escaped`."""
    lines = [list(map(escaped, header)), ["---"] * len(header), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
