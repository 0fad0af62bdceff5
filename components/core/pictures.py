"""Pictures inside of a page, for whoever reads it where the files are not: Prefect's pages, a browser elsewhere."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

COLOURS = 64
"""Of a plot: enough for its lines and edges, and a third of the bytes."""
_LINK = re.compile(r"\]\(([\w-]+\.png)\)")


def data_uri(file: Path) -> str:
    """A PNG file as an address that holds it."""
    packed = io.BytesIO()
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS).save(packed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"


def with_pictures(page: str, folder: Path) -> str:
    """A page in Markdown with the pictures that it names, which lie in the folder."""
    return _LINK.sub(lambda found: f"]({data_uri(folder / found[1])})", page)
