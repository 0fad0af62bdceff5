"""The files that settings are read from: the settings file and the presets."""

import os
from pathlib import Path

PRESETS = Path(__file__).parents[1] / "presets"


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
