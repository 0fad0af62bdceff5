"""`duotempo bench ingest` with few rows."""

from pathlib import Path

import pytest

from benchmarks import ingest
from components.settings import Settings


def test_the_bench_measures_a_load_a_copy_and_an_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "BEFORE", "0" * 40)
    page = tmp_path / "performance.md"
    page.write_text("<!-- ingest -->\n<!-- /ingest -->\n")
    figures = ingest.run(Settings(), page, rows=2_000)
    names = ["rows_per_s", "copy_rows_per_s", "undo_rows_per_s", "peak_mb", "undo_peak_mb", "ratio"]
    assert all(figures[name] > 0 for name in names)
    assert "before_rows_per_s" not in figures
    assert f"{'0' * 40} is not measured" in capsys.readouterr().out
    assert "x COPY" in page.read_text()
