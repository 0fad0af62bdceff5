"""What the sections of the settings are made of, and the files that they are read from."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MAX_NUMBER = 1e9
"""No number of the settings passes it: it is as good as never, or as everything, and dates and sizes still hold it."""
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Days = Annotated[float, Field(gt=0, le=36_500)]
Hours = Annotated[float, Field(gt=0, le=876_000)]
Port = Annotated[int, Field(ge=1, le=65535)]
PRESETS = Path(__file__).parents[1] / "presets"


class Section(BaseModel):
    """A group of settings; an unknown name is an error, so that a typing error never passes silently. Numbers are
    finite, no booleans, and at most LARGEST."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[info.field_name or ""].default
        if isinstance(value, bool) and type(default) in (int, float):
            raise ValueError("needs a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _is_not_too_large(cls, value: Any) -> Any:
        numbers = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(number, int | float) and abs(number) > MAX_NUMBER for number in numbers):
            raise ValueError(f"must be at most {MAX_NUMBER:g}")
        return value


def settings_file() -> Path:
    """The file of settings, which is absent by default. Raises ValueError when one was named and is not there."""
    named = os.environ.get("DUOTEMPO_SETTINGS_FILE")
    if named and not Path(named).expanduser().is_file():
        raise ValueError(f"DUOTEMPO_SETTINGS_FILE: there is no file {named}; correct the path or unset the variable")
    return Path(named or "duotempo.toml").expanduser()


def preset_file(name: str, home: Path) -> Path:
    """The file of a preset, a packaged one or one of the platform's own.

    Raises ValueError naming the known ones when there is no such preset.
    """
    folders = (PRESETS, custom_presets(home))
    for folder in folders:
        if (file := folder / f"{name}.toml").is_file() and Path(name).name == name:
            return file
    packaged, own = (", ".join(sorted(file.stem for file in folder.glob("*.toml"))) for folder in folders)
    raise ValueError(
        f"DUOTEMPO_PRESET: no preset named {name!r}; the presets are: {packaged}; your own in {folders[1]}: "
        + (own or "none, `duotempo search` makes one")
    )


def custom_presets(home: Path) -> Path:
    """The folder of the presets that searches wrote."""
    return home.expanduser() / "presets"
