"""Saves the best values of a search as a custom preset: `<home>/presets/NAME.toml`."""

import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import tomli_w

from components.core.files import atomic_write
from components.search.space import SPACE, SearchError
from components.settings import PRESETS, Settings, custom_presets

SECTIONS = ("events", "interests", "embedding", "adaptation", "fusion", "ranking", "evaluation", "validation")
"""Sections of a preset: settings that affect a model and its evaluation, without paths or secrets."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def custom_preset_file(home: Path, name: str) -> Path:
    """The path of a custom preset.

    Raises SearchError for an invalid name, and for the name of a packaged preset, which is never overwritten.
    """
    if not _NAME.fullmatch(name):
        raise SearchError(f"a preset cannot be named {name!r}: use small letters, digits and single hyphens")
    if (PRESETS / f"{name}.toml").is_file():
        raise SearchError(f"{name!r} is a packaged preset, which is never overwritten: choose another name")
    return custom_presets(home) / f"{name}.toml"


def write_preset(file: Path, settings: Settings, notes: Mapping[str, object]) -> None:
    """Writes the settings that differ from the defaults, below a comment line per note; atomically.

    Raises SearchError when the file cannot be written.
    """
    head = "".join(f"# {name}: {note}\n" for name, note in notes.items())
    try:
        with atomic_write(file) as part:
            part.write_text(f"{head}\n{tomli_w.dumps(differences(settings))}", encoding="utf-8")
    except OSError as error:
        raise SearchError(f"the preset {file} cannot be written ({error}): free some space, then run again") from error


def differences(settings: Settings) -> dict[str, dict[str, Any]]:
    """Settings of SECTIONS that differ from the defaults, by section; sections without differences are left out."""
    changed_values = {}
    for section in SECTIONS:
        defaults = Settings.model_fields[section].default.model_dump()
        values = getattr(settings, section).model_dump()
        changed_values[section] = {name: value for name, value in values.items() if value != defaults[name]}
    return {section: values for section, values in changed_values.items() if values}


def shadowed(name: str, expected: Settings) -> list[str]:
    """Searched settings that the settings file or an environment variable overrides in this process."""
    loaded = Settings(preset=name, home=expected.home)
    return [setting for setting in SPACE if attrgetter(setting)(loaded) != attrgetter(setting)(expected)]
