"""A search that cannot begin says so before anything is started."""

from pathlib import Path

from tests.support.command_line import Run


def test_a_packaged_presets_name_is_refused(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo("search", "--name", "shop")
    assert answer.code == 1
    assert "error: 'shop' is a packaged preset, which is never overwritten" in answer.err
    assert not (tmp_path / "home").exists()


def test_no_trial_is_no_search(duotempo: Run) -> None:
    answer = duotempo("search", "--trials", "0")
    assert answer.code == 2
    assert "--trials" in answer.text


def test_without_a_platform_the_mend_is_named(duotempo: Run) -> None:
    answer = duotempo("search", "--wait")
    assert answer.code == 1
    assert "duotempo up" in answer.err
