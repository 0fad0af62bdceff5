"""The sources of the settings, with their secrets."""

import os
from pathlib import Path

from components.settings import Settings, SourceSettings, settings_file
from components.sources.source import Source, SourceError


def source_settings(settings: Settings, name: str) -> SourceSettings:
    """The settings of a source. Raises SourceError if there is none of this name."""
    if name not in settings.ingest.sources:
        known = ", ".join(settings.ingest.sources) or "there are none"
        raise SourceError(f"there is no source {name!r}: describe it in [ingest.sources.{name}] (sources: {known})")
    return settings.ingest.sources[name]


def configured_source(settings: Settings, name: str) -> Source:
    """A source of the settings with its secret, if it has one.

    Raises:
        SourceError: There is none of this name, or its secret cannot be read.
    """
    described = source_settings(settings, name)
    address = described.address
    if "://" not in address:
        address = str(settings_file().parent / Path(address).expanduser())
    return Source(name, address, described.query, described.watermark, described.overlap, _secret(settings, name))


def mapping_file(settings: Settings, name: str) -> Path | None:
    """The mapping of a source, if the settings name one; relative to the settings file."""
    described = source_settings(settings, name)
    return described.mapping and settings_file().parent / described.mapping.expanduser()


def _secret(settings: Settings, name: str) -> str | None:
    variable = f"DUOTEMPO_SOURCE_{name.upper().replace('-', '_')}_SECRET"
    if given := os.environ.get(variable):
        return given
    file = settings.home.expanduser() / "secrets" / f"source-{name}"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: its secret {file} cannot be read ({error})") from error
