"""The best set of a search, kept as a custom preset: `<home>/presets/NAME.toml`."""

import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import tomli_w

from components.core.files import replacing
from components.search.space import SPACE, SearchError
from components.settings import PRESETS, Settings, custom_presets

SECTIONS = ("events", "interests", "embedding", "adaptation", "fusion", "ranking", "evaluation", "validation")
"""What a preset holds: what shapes a model and its judgement, nothing of the machine, no secret."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def own_preset(home: Path, name: str) -> Path:
    """The file of a custom preset.

    Raises SearchError for a packaged preset's name, which stays what it is, and for what cannot name one.
    """
    if not _NAME.fullmatch(name):
        raise SearchError(f"a preset cannot be named {name!r}: use small letters, digits and single hyphens")
    if (PRESETS / f"{name}.toml").is_file():
        raise SearchError(f"{name!r} is a packaged preset, which is never overwritten: choose another name")
    return custom_presets(home) / f"{name}.toml"


def write_preset(file: Path, settings: Settings, notes: Mapping[str, object]) -> None:
    """Writes what differs from the defaults, under a comment line for each note; the file appears whole or not at all.

    Raises SearchError when it cannot be written.
    """
    head = "".join(f"# {name}: {note}\n" for name, note in notes.items())
    try:
        with replacing(file) as part:
            part.write_text(f"{head}\n{tomli_w.dumps(differences(settings))}", encoding="utf-8")
    except OSError as error:
        raise SearchError(f"the preset {file} cannot be written ({error}): free some space, then run again") from error


def differences(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings of `SECTIONS` that differ from the defaults, by section; sections without one are left out."""
    changed_values = {}
    for section in SECTIONS:
        defaults = Settings.model_fields[section].default.model_dump()
        values = getattr(settings, section).model_dump()
        changed_values[section] = {name: value for name, value in values.items() if value != defaults[name]}
    return {section: values for section, values in changed_values.items() if values}


def shadowed(name: str, expected: Settings) -> list[str]:
    """Searched settings that the preset does not give to this process, as the settings file or a variable wins."""
    loaded = Settings(preset=name, home=expected.home)
    return [setting for setting in SPACE if attrgetter(setting)(loaded) != attrgetter(setting)(expected)]
