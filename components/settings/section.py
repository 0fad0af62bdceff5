"""The base class and types of settings sections, and the files that settings are read from."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MAX_NUMBER = 1e9
"""Upper limit of every number: effectively infinite, but safe in dates and sizes."""
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Days = Annotated[float, Field(gt=0, le=36_500)]
Hours = Annotated[float, Field(gt=0, le=876_000)]
Port = Annotated[int, Field(ge=1, le=65535)]
PRESETS = Path(__file__).parents[1] / "presets"


class Section(BaseModel):
    """A group of settings. Unknown names are errors, which catches typos; numbers are finite and at most MAX_NUMBER."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[info.field_name or ""].default
        if isinstance(value, bool) and type(default) in (int, float):
            raise ValueError("needs a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _check_limit(cls, value: Any) -> Any:
        numbers = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(number, int | float) and abs(number) > MAX_NUMBER for number in numbers):
            raise ValueError(f"must be at most {MAX_NUMBER:g}")
        return value


def settings_file() -> Path:
    """The settings file, which may be absent unless DUOTEMPO_SETTINGS_FILE names it. Raises ValueError then."""
    configured = os.environ.get("DUOTEMPO_SETTINGS_FILE")
    if configured and not Path(configured).expanduser().is_file():
        raise ValueError(
            f"DUOTEMPO_SETTINGS_FILE: there is no file {configured}; correct the path or unset the variable"
        )
    return Path(configured or "duotempo.toml").expanduser()


def preset_file(name: str, home: Path) -> Path:
    """The file of a packaged or custom preset. Raises ValueError, listing the presets, when there is none."""
    folders = (PRESETS, custom_presets(home))
    for folder in folders:
        if (file := folder / f"{name}.toml").is_file() and Path(name).name == name:
            return file
    packaged, custom = (", ".join(sorted(file.stem for file in folder.glob("*.toml"))) for folder in folders)
    raise ValueError(
        f"DUOTEMPO_PRESET: no preset named {name!r}; the presets are: {packaged}; your own in {folders[1]}: "
        + (custom or "none, `duotempo search` makes one")
    )


def custom_presets(home: Path) -> Path:
    """The folder of the presets that hyper-parameter searches wrote."""
    return home.expanduser() / "presets"
