"""The settings of the whole platform, in one object.

Sources, in ascending priority:

1. the defaults below;
2. the preset that `DUOTEMPO_PRESET` names: `components/presets/NAME.toml`, or `HOME/presets/NAME.toml`, which
   `duotempo search` writes;
3. the file that `DUOTEMPO_SETTINGS_FILE` names, else `duotempo.toml` in the working directory, if it exists;
4. `DUOTEMPO_*` variables, with two underscores before a nested name (`DUOTEMPO_FUSION__WIDTH=128`).
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from components.settings.data import (
    AdaptationSettings,
    EmbeddingSettings,
    EventSettings,
    IngestSettings,
    InterestSettings,
    SourceSettings,
)
from components.settings.model import EvaluationSettings, FusionSettings, RankingSettings
from components.settings.operation import (
    DeploySettings,
    MonitoringSettings,
    PlatformSettings,
    PrivacySettings,
    RetentionSettings,
    SecuritySettings,
    ServingSettings,
    ValidationSettings,
)
from components.settings.section import PRESETS, Section, custom_presets, preset_file, settings_file

__all__ = [
    "PRESETS",
    "AdaptationSettings",
    "DeploySettings",
    "EmbeddingSettings",
    "EvaluationSettings",
    "EventSettings",
    "FusionSettings",
    "IngestSettings",
    "InterestSettings",
    "MonitoringSettings",
    "PlatformSettings",
    "PrivacySettings",
    "RankingSettings",
    "RetentionSettings",
    "Section",
    "SecuritySettings",
    "ServingSettings",
    "Settings",
    "SourceSettings",
    "ValidationSettings",
    "custom_presets",
    "preset_file",
    "settings_file",
]


class Settings(BaseSettings):
    """All settings; the module's docstring lists their sources."""

    model_config = SettingsConfigDict(
        env_prefix="DUOTEMPO_", env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
    )

    preset: str = ""
    """Name of the active preset: `DUOTEMPO_PRESET`."""
    home: Path = Path(".duotempo")
    """The platform's state folder."""
    cache: Path = Path.home() / ".cache" / "duotempo"
    """Downloaded datasets and embeddings, shared by all platforms of this user."""
    data_dir: Path | None = None
    """Folder of dataset folders, searched first."""
    database_url: str | None = None
    """An external Postgres (`postgresql://user:password@host:port/name`); absent: the embedded one."""
    ray_address: str | None = None
    """Head of a Ray cluster (`host:6379`) for embedding, interests and training, see docs/scaling.md; absent: this
    machine is used."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"

    events: EventSettings = EventSettings()
    ingest: IngestSettings = IngestSettings()
    interests: InterestSettings = InterestSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    fusion: FusionSettings = FusionSettings()
    ranking: RankingSettings = RankingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    validation: ValidationSettings = ValidationSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    deploy: DeploySettings = DeploySettings()
    retention: RetentionSettings = RetentionSettings()
    platform: PlatformSettings = PlatformSettings()
    serving: ServingSettings = ServingSettings()
    security: SecuritySettings = SecuritySettings()
    privacy: PrivacySettings = PrivacySettings()

    @model_validator(mode="before")
    @classmethod
    def _check_section_names(cls, values: dict[str, object]) -> dict[str, object]:
        sections = {name for name, field in cls.model_fields.items() if isinstance(field.default, Section)}
        for variable in os.environ:
            section, nested, _ = variable.lower().removeprefix("duotempo_").partition("__")
            if variable.upper().startswith("DUOTEMPO_") and nested and section not in sections:
                raise ValueError(
                    f"{variable}: there is no section {section!r}; the sections are {', '.join(sorted(sections))}"
                )
        return values

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, settings_file())
        if "preset" in file.toml_data:
            raise ValueError(f"preset: it cannot be set in {file.toml_file_path}; set DUOTEMPO_PRESET instead")
        sources = [init_settings, env_settings, file]
        given = {**file.toml_data, **env_settings(), **init_settings()}
        if preset := given.get("preset"):
            home = Path(given.get("home", cls.model_fields["home"].default))
            sources.append(TomlConfigSettingsSource(settings_cls, preset_file(preset, home)))
        return tuple(sources)
