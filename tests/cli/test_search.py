"""`duotempo search`: invalid arguments fail before anything starts."""

from pathlib import Path

from tests.support.command_result import Run


def test_packaged_preset_name_is_rejected(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo("search", "--name", "shop")
    assert answer.code == 1
    assert "error: 'shop' is a packaged preset, which is never overwritten" in answer.err
    assert not (tmp_path / "home").exists()


def test_zero_trials_are_rejected(duotempo: Run) -> None:
    answer = duotempo("search", "--trials", "0")
    assert answer.code == 2
    assert "--trials" in answer.text


def test_search_without_platform_suggests_up(duotempo: Run) -> None:
    answer = duotempo("search", "--wait")
    assert answer.code == 1
    assert "duotempo up" in answer.err
