"""Embedding of images in Markdown."""

import base64
import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from components.core.markdown import data_uri, inline_images


@pytest.fixture
def plot(tmp_path: Path) -> Path:
    figure = Figure()
    figure.subplots().plot([1, 3, 2])
    figure.savefig(tmp_path / "metrics.png", dpi=144)
    return tmp_path / "metrics.png"


def test_images_are_embedded_at_full_size_in_fewer_bytes(plot: Path) -> None:
    page = inline_images("# Report\n\n![Metrics](metrics.png)\n\n[elsewhere](https://a.example/b.png)\n", plot.parent)
    assert page == f"# Report\n\n![Metrics]({data_uri(plot)})\n\n[elsewhere](https://a.example/b.png)\n"
    head, _, data = data_uri(plot).partition(",")
    assert head == "data:image/png;base64"
    embedded = base64.b64decode(data)
    assert len(embedded) < plot.stat().st_size
    with Image.open(plot) as whole, Image.open(io.BytesIO(embedded)) as small:
        assert small.size == whole.size
