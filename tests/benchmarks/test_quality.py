"""The quality bench on a planted dataset: its table, and reuse of cached results."""

from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.errors import BenchError
from components.settings import Settings

PAGE = "# Quality\n\n<!-- results -->\n\n<!-- /results -->\n"
Times = dict[str, int]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "quality.md"
    file.write_text(PAGE)
    return file


def modification_times(settings: Settings) -> Times:
    """Modification time of each cached file."""
    return {file.name: file.stat().st_mtime_ns for file in (settings.cache / "bench").iterdir()}


def test_the_table_and_the_figures(settings: Settings, page: Path) -> None:
    figures = quality.run(settings, dataset="ml-100k", page=page)
    text = page.read_text()
    assert "`duotempo bench quality --only ml-100k`, commit " in text
    assert "### ml-100k, loo: 24 targets, mean of 3 seeds" in text
    assert "### ml-100k, rolling" in text
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [line[0].removeprefix("| ") for line in lines if "[" in line[1] and "NDCG" not in line[1]] == [
        *("duotempo", "pop", "pop7", "itemknn", "ease", "als"), *("duotempo", "pop", "pop7"),
    ]  # fmt: skip
    assert all(0 <= value <= 1 for name, value in figures.items() if "coverage" not in name)
    assert f"{figures['ml-100k.loo.ease.ndcg@10']:.4f} [" in text
    assert text.count("times that of the best other") == 2
    assert text.count("0.0000 (3)") >= 4  # popularity and the peers cannot rank items without events


def test_a_second_run_uses_the_cache_and_writes_the_same_page(settings: Settings, page: Path) -> None:
    first, times, text = (
        quality.run(settings, dataset="ml-100k", page=page),
        modification_times(settings),
        page.read_text(),
    )
    assert quality.run(settings, dataset="ml-100k", page=page) == first
    assert modification_times(settings) == times
    assert page.read_text() == text


def test_a_changed_setting_trains_again_and_keeps_the_old_results(
    settings: Settings, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "DATASETS", {"ml-100k": quality.Plan(("loo",))})
    settings.cache = tmp_path / "cache"
    quality.run(settings, dataset="ml-100k", page=page)
    before = modification_times(settings)
    settings.fusion.learning_rate /= 2
    quality.run(settings, dataset="ml-100k", page=page)
    after = modification_times(settings)
    assert len(after) == 2 * len(before)
    assert {name: after[name] for name in before} == before


def test_an_unavailable_dataset_is_reported(
    settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        quality, "DATASETS", {"ml-100k": quality.Plan(("loo",)), "amazon-beauty-2014": quality.Plan(("loo",))}
    )
    quality.run(settings, page=page)
    assert "Left out, because they were not available: amazon-beauty-2014." in page.read_text()
    assert str(settings.data_dir) not in page.read_text()
    assert "amazon-beauty-2014 is left out" in caplog.text


def test_without_any_dataset_the_page_is_not_changed(settings: Settings, page: Path) -> None:
    with pytest.raises(BenchError, match="DUOTEMPO_DATA_DIR"):
        quality.run(settings, dataset="amazon-beauty-2014", page=page)
    assert page.read_text() == PAGE


def test_an_unknown_dataset_is_refused_with_the_valid_names(settings: Settings, page: Path) -> None:
    with pytest.raises(BenchError, match="'netflix' is none of ml-100k, movielens-latest-small, amazon-beauty-2014"):
        quality.run(settings, dataset="netflix", page=page)
