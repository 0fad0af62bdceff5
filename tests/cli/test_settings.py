"""Settings that are wrong: the message names the variable and the mend, and nothing is started."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("DUOTEMPO_FUSION__WIDTH", "wide", "fusion.width"),
        ("DUOTEMPO_FUSION__WIDHT", "64", "fusion.widht"),
        ("DUOTEMPO_FUSOIN__WIDTH", "64", "DUOTEMPO_FUSOIN__WIDTH"),
        ("DUOTEMPO_LOG_LEVEL", "LOUD", "log_level"),
        ("DUOTEMPO_EVENTS__WEIGHTS", "{broken", "events"),
        ("DUOTEMPO_PRESET", "quickest", "the presets are: demo"),
        ("DUOTEMPO_FUSION__EPOCHS", "0", "fusion.epochs"),
        ("DUOTEMPO_FUSION__HEADS", "5", "heads (5) must divide width (64)"),
        ("DUOTEMPO_EVALUATION__CUT_QUANTILE", "7", "evaluation.cut_quantile"),
        ("DUOTEMPO_RANKING__STRATEGY", "magic", "ranking.strategy"),
    ],
)
def test_a_wrong_setting_is_named(duotempo: Run, variable: str, value: str, named: str) -> None:
    answer = duotempo("status", **{variable: value})
    assert answer.code == 2
    assert answer.err.startswith("error: settings: ")
    assert named in answer.text


def test_a_wrong_line_of_the_file_is_named(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion]\nepoch = 3\n")
    answer = duotempo("status")
    assert answer.code == 2
    assert "fusion.epoch" in answer.text


def test_a_file_that_is_no_toml_is_named(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion\n")
    answer = duotempo("status")
    assert answer.code == 2
    assert "duotempo.toml" in answer.text


def test_no_secret_is_shown(duotempo: Run) -> None:
    answer = duotempo("status", DUOTEMPO_DATABASE_URL="postgresql://me:s3cret@db/x", DUOTEMPO_LOG_LEVEL="LOUD")
    assert answer.code == 2
    assert "s3cret" not in answer.text
