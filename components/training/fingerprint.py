"""Fingerprint of a training's settings and code; an equal fingerprint means an equal result."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from components.settings import Settings

VERSION_SECTIONS = ("events", "interests", "embedding", "fusion", "ranking", "evaluation", "validation")
"""Sections of the settings that affect a version."""
PROJECT = Path(__file__).parents[2]
CODE_PATTERNS = ("components/**/*.py", "expectations/*.json")


def version_settings(settings: Settings) -> dict[str, Any]:
    """The settings that affect a version, as JSON, to reproduce the training on another machine."""
    return settings.model_dump(mode="json", include=set(VERSION_SECTIONS))


def settings_of(sections: dict[str, Any]) -> Settings:
    """Settings from the output of `version_settings`; defaults for the rest, so that fingerprints agree."""
    fields = Settings.model_fields
    chosen = {name: type(fields[name].default).model_validate(values) for name, values in sections.items()}
    return Settings.model_construct(None, **chosen)


def fingerprint(settings: Settings) -> str:
    """SHA-256 of the settings that affect a version and of the code, including that of a custom fusion.

    Raises:
        UnknownFusion: The configured fusion does not exist.
    """
    digest = hashlib.sha256(json.dumps(version_settings(settings), sort_keys=True).encode())
    files = [file for pattern in CODE_PATTERNS for file in sorted(PROJECT.glob(pattern))]
    for file in (*files, *custom_fusion(settings)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def custom_fusion(settings: Settings) -> list[Path]:
    """The source file of a custom fusion, after checking it; empty for a built-in one. Raises UnknownFusion."""
    if ":" not in settings.fusion.kind:
        return []
    from components.fusion.fusions import make_fusion  # imports torch, which this process needs for nothing else

    return [Path(inspect.getfile(type(make_fusion(settings.fusion.kind, settings.fusion.width))))]
