"""Pages in Markdown, as MLflow and Prefect show them, of text that may be anybody's, with their pictures inside."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from components.core.logs import one_line

_SYNTAX = re.compile(r"[\\`*|]|\](?=[(\[])")
_ADDRESS = re.compile(r"(?<=\w):(?=/)|(?<=www)\.", re.IGNORECASE)
PALETTE_SIZE = 64
"""Of a plot: enough for its lines and edges, and a third of the bytes."""
_LINK = re.compile(r"\]\(([\w-]+\.png)\)")


def escaped(text: str) -> str:
    """The text as itself, in one line: no link, image, HTML, emphasis, code or cell of a table comes of it."""
    line = _SYNTAX.sub(r"\\\g<0>", one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _ADDRESS.sub(lambda found: f"&#{ord(found[0])};", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are text, `escaped`."""
    lines = [list(map(escaped, header)), ["---"] * len(header), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def data_uri(file: Path) -> str:
    """A PNG file as an address that holds it."""
    packed = io.BytesIO()
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(PALETTE_SIZE).save(packed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"


def with_pictures(page: str, folder: Path) -> str:
    """A page in Markdown with the pictures that it names, which lie in the folder."""
    return _LINK.sub(lambda found: f"]({data_uri(folder / found[1])})", page)
