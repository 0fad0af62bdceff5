"""Invalid settings: the message names the variable and how to fix it, and nothing starts."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.settings import Section, Settings
from tests.support.command_result import Run


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("DUOTEMPO_FUSION__WIDTH", "wide", "fusion.width"),
        ("DUOTEMPO_FUSION__WIDHT", "64", "fusion.widht"),
        ("DUOTEMPO_FUSOIN__WIDTH", "64", "DUOTEMPO_FUSOIN__WIDTH"),
        ("DUOTEMPO_LOG_LEVEL", "LOUD", "log_level"),
        ("DUOTEMPO_EVENTS__WEIGHTS", "{broken", "events"),
        ("DUOTEMPO_PRESET", "quickest", "the presets are: content, demo, learning, shop, social"),
        ("DUOTEMPO_FUSION__EPOCHS", "0", "fusion.epochs"),
        ("DUOTEMPO_FUSION__HEADS", "5", "heads (5) must divide width (64)"),
        ("DUOTEMPO_EVALUATION__CUT_QUANTILE", "7", "evaluation.cut_quantile"),
        ("DUOTEMPO_RANKING__STRATEGY", "magic", "ranking.strategy"),
        ("DUOTEMPO_FUSION__WIDTH", "4", "fusion.width"),
        ("DUOTEMPO_FUSION__DROPOUT", "1", "fusion.dropout"),
        ("DUOTEMPO_FUSION__LEARNING_RATE", "0", "fusion.learning_rate"),
        ("DUOTEMPO_INTERESTS__HALF_LIFE_DAYS", "0", "interests.half_life_days"),
        ("DUOTEMPO_RANKING__K", "101", "k (101) must not pass max_k (100)"),
        ("DUOTEMPO_EVALUATION__CUT_QUANTILE", "1", "evaluation.cut_quantile"),
        ("DUOTEMPO_VALIDATION__TEXT_SHARE", "80", "validation.text_share"),
        ("DUOTEMPO_PLATFORM__SERVING_PORT", "70000", "platform.serving_port"),
        ("DUOTEMPO_MONITORING__WINDOW_DAYS", "inf", "monitoring.window_days"),
        ("DUOTEMPO_PRIVACY__TOMBSTONE_DAYS", "999999999", "privacy.tombstone_days"),
        ("DUOTEMPO_SETTINGS_FILE", "absent.toml", "there is no file absent.toml"),
    ],
)
def test_invalid_setting_is_named(duotempo: Run, variable: str, value: str, named: str) -> None:
    answer = duotempo("status", **{variable: value})
    assert answer.code == 2
    assert answer.err.startswith("error: settings: ")
    assert named in answer.text
    assert "pydantic" not in answer.text
    assert len(answer.err.splitlines()) == 1


NUMBERS = [
    (section, name)
    for section, field in Settings.model_fields.items()
    if isinstance(field.default, Section)
    for name, inner in type(field.default).model_fields.items()
    if type(inner.default) in (int, float)
]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**30, -(10**30), True, "many", ""])
def test_numeric_settings_reject_senseless_values(value: object) -> None:
    for section, name in NUMBERS:
        with pytest.raises(ValidationError, match=name):
            Settings.model_validate({section: {name: value}})


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--scope", "admin", "--name", "shop", "--days", "999999999"),
        ("keys", "rotate", "KEY", "--grace", "nan"),
        ("keys", "rotate", "KEY", "--grace", "inf"),
        ("report", "drift", "--days", "1000000"),
        ("report", "online", "--days", "0"),
        ("evaluate", ".", "--seed", "-1"),
        ("search", "--trials", "0"),
        ("chaos", "--rounds", "0"),
        ("bench", "ablation", "--seeds", "0"),
    ],
)
def test_numeric_options_reject_senseless_values(duotempo: Run, words: tuple[str, ...]) -> None:
    answer = duotempo(*words)
    assert answer.code == 2
    assert words[-2] in answer.text


def test_unknown_key_in_settings_file_is_named(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion]\nepoch = 3\n")
    answer = duotempo("status")
    assert answer.code == 2
    assert "fusion.epoch" in answer.text


def test_removed_setting_is_ignored_with_a_warning(
    duotempo: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion]\nrarity_weight = 0.3\n")
    assert duotempo("status").code == 3
    assert "fusion.rarity_weight was removed and has no effect" in caplog.text


def test_invalid_toml_file_is_named(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion\n")
    answer = duotempo("status")
    assert answer.code == 2
    assert "duotempo.toml" in answer.text


def test_named_settings_file_replaces_the_default(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text("[fusion\n")
    (tmp_path / "other.toml").write_text("[fusion]\nepoch = 3\n")
    answer = duotempo("status", DUOTEMPO_SETTINGS_FILE=str(tmp_path / "other.toml"))
    assert answer.code == 2
    assert "fusion.epoch" in answer.text


def test_preset_in_settings_file_is_rejected(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "duotempo.toml").write_text('preset = "demo"\n')
    answer = duotempo("status")
    assert answer.code == 2
    assert "set DUOTEMPO_PRESET instead" in answer.text


def test_preset_argument_is_applied() -> None:
    assert (Settings(preset="demo").fusion.width, Settings().fusion.width) == (48, 64)


def test_settings_errors_hide_secrets(duotempo: Run) -> None:
    answer = duotempo("status", DUOTEMPO_DATABASE_URL="postgresql://me:s3cret@db/x", DUOTEMPO_LOG_LEVEL="LOUD")
    assert answer.code == 2
    assert "s3cret" not in answer.text
