"""What a training depends on: when none of it has changed, neither has its result."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from components.settings import Settings

VERSION_SECTIONS = ("events", "interests", "embedding", "fusion", "ranking", "evaluation", "validation")
"""Sections of the settings that a version depends on."""
PROJECT = Path(__file__).parents[2]
CODE_PATTERNS = ("components/**/*.py", "expectations/*.json")


def shaping(settings: Settings) -> dict[str, Any]:
    """The values of these sections, as JSON: what another machine needs to do the same."""
    return settings.model_dump(mode="json", include=set(VERSION_SECTIONS))


def settings_of(sections: dict[str, Any]) -> Settings:
    """Settings by another one's `shaping`, all else by default: the same on every machine, as a checkpoint asks."""
    fields = Settings.model_fields
    chosen = {name: type(fields[name].default).model_validate(values) for name, values in sections.items()}
    return Settings.model_construct(None, **chosen)


def fingerprint(settings: Settings) -> str:
    """sha256 of the settings that shape a version and of the code, a custom fusion included.

    Raises UnknownFusion when there is no such fusion.
    """
    digest = hashlib.sha256(json.dumps(shaping(settings), sort_keys=True).encode())
    files = [file for pattern in CODE_PATTERNS for file in sorted(PROJECT.glob(pattern))]
    for file in (*files, *custom_fusion(settings)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def custom_fusion(settings: Settings) -> list[Path]:
    """The file of a custom fusion, tried out; none for one of our own. Raises UnknownFusion."""
    if ":" not in settings.fusion.kind:
        return []
    from components.fusion.fusions import make_fusion  # torch, which nothing else of a retraining's own process needs

    return [Path(inspect.getfile(type(make_fusion(settings.fusion.kind, settings.fusion.width))))]
