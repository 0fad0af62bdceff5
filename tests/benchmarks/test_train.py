"""The training bench on a planted dataset: what it counts and writes. The ratios themselves are not tested."""

from pathlib import Path

import pytest

from benchmarks import train
from benchmarks.beauty import peak_gb
from benchmarks.errors import BenchError
from components.settings import Settings

PAGE = "# Performance\n\n<!-- train -->\n\n<!-- /train -->\n"
SMALL = {**train.SIZE, "fusion.width": 16, "fusion.window": 10, "fusion.batch_size": 8}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "performance.md"
    file.write_text(PAGE)
    return file


def test_without_the_peers_the_error_says_how_to_install_them(settings: Settings, page: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="make peers"):
        train.run(settings, page=page, peers=tmp_path / "nothing")
    assert page.read_text() == PAGE


@pytest.mark.skipif(not (train.PEERS / "bin" / "python").is_file(), reason="needs `make peers`")
def test_both_models_are_trained_and_their_speeds_written(
    settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SIZE", SMALL)
    figures = train.run(settings, page=page)
    assert all(value > 0 for value in figures.values())
    assert figures["ratio"] == pytest.approx(figures["duotempo_sequences_s"] / figures["sasrec_sequences_s"])
    assert "| SASRec (RecTools) | " in page.read_text()


def test_the_stderr_of_a_failing_peer_is_reported(settings: Settings, page: Path, tmp_path: Path) -> None:
    python = tmp_path / "peers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no module named rectools >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(BenchError, match="no module named rectools"):
        train.run(settings, page=page, peers=tmp_path / "peers")


def test_memory_and_ranking_are_measured_in_a_fresh_process(settings: Settings, data_folder: Path) -> None:
    ballast = bytearray(1_000_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])  # touches every page, so that all are resident
    measured = train.in_own_process(data_folder / "ml-100k", settings)
    assert set(measured) == {"beauty_peak_gb", "rank_beauty_s"}
    assert 0 < measured["beauty_peak_gb"] < peak_gb()
    assert peak_gb() > len(ballast) / 1e9
