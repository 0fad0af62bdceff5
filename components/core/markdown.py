"""Markdown for MLflow and Prefect: escapes untrusted text and embeds images."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from components.core.logs import one_line

_SYNTAX = re.compile(r"[\\`*|]|\](?=[(\[])")
_ADDRESS = re.compile(r"(?<=\w):(?=/)|(?<=www)\.", re.IGNORECASE)
PALETTE_SIZE = 64
"""Colours of an embedded plot: enough for lines and anti-aliasing, at a third of the bytes."""
_LINK = re.compile(r"\]\(([\w-]+\.png)\)")


def escaped(text: str) -> str:
    """Escapes text to one literal line: no links, images, HTML, emphasis, code or table cells."""
    line = _SYNTAX.sub(r"\\\g<0>", one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _ADDRESS.sub(lambda match: f"&#{ord(match[0])};", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Renders a Markdown table; the cells are escaped."""
    lines = [list(map(escaped, header)), ["---"] * len(header), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def data_uri(file: Path) -> str:
    """Converts a PNG file to a data URI, with PALETTE_SIZE colours."""
    from PIL import Image  # not needed by the hook, which only escapes text

    compressed = io.BytesIO()
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(PALETTE_SIZE).save(compressed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(compressed.getvalue()).decode()}"


def inline_images(page: str, folder: Path) -> str:
    """Replaces links to PNG files in the folder by data URIs."""
    return _LINK.sub(lambda match: f"]({data_uri(folder / match[1])})", page)
