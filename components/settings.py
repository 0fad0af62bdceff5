"""One settings object for the whole platform.

Later wins: the defaults below, the preset (`components/presets/NAME.toml`, named by `DUOTEMPO_PRESET`), `duotempo.toml`
in the working directory, then `DUOTEMPO_*` variables, a nested name joined by two underscores
(`DUOTEMPO_FUSION__WIDTH=128`).
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from components.columns import EVENTS

PRESETS = Path(__file__).parent / "presets"
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A group of settings; an unknown name is an error, so that a typing error never passes silently."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class EventSettings(Section):
    weights: dict[str, float] = Field(
        default={
            "view": 0.3, "click": 0.5, "cart": 0.8, "purchase": 1.0, "rating": 1.0, "review": 1.0,
            "like": 1.0, "dislike": 1.0, "hide": 1.0, "comment": 0.6, "post": 0.6,
        }
    )  # fmt: skip
    """How strongly an event speaks of an interest."""
    signs: dict[str, int] = Field(default={name: -1 if name in ("dislike", "hide") else 1 for name in EVENTS})
    """+1 speaks for the item, -1 against it."""
    dislike_below: float = 1.5
    """A rating under this value (stars of 5) counts as a dislike."""
    future_tolerance_seconds: float = 300.0
    """An event further ahead of the clock than this is rejected."""

    @field_validator("weights", "signs")
    @classmethod
    def _names_known_events(cls, value: dict[str, float]) -> dict[str, float]:
        if set(value) != set(EVENTS):
            raise ValueError(f"needs exactly the events {', '.join(EVENTS)}")
        return value


class InterestSettings(Section):
    half_life_days: float = 60.0
    """Time after which an event counts half in the long-term interest."""
    long_items: int = 500
    """History kept in the long-term interest, newest first."""
    long_keywords: int = 12
    long_categories: int = 6
    short_days: float = 14.0
    """The recent window: events of the last days before the anchor..."""
    short_items: int = 10
    """...and of these at most so many."""
    short_keywords: int = 8
    item_keywords: int = 8
    """Keywords kept of an item's text."""
    anchors: int = 3
    """Anchors of a user that training may use, beside the one at the cut."""


class EmbeddingSettings(Section):
    model: str = "packaged:minilm"
    """`packaged:minilm`, `packaged:multilingual`, or any id of the Hugging Face hub (encoder or decoder)."""
    revision: str = "main"
    pooling: Literal["mean", "cls", "last"] = "mean"
    prefix: str = ""
    """Instruction put before every text."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_length: int = 128
    """Tokens of a text that are read; the rest is cut off."""
    token_budget: int = 4096
    """Tokens of a batch, padding included."""
    batch_size: int = 256
    unknown_limit: float = 0.10
    """Share of unknown tokens above which the encoder is the wrong one for these texts."""


class FusionSettings(Section):
    kind: str = "gated"
    """A name of `components.fusion.fusions.FUSIONS`."""
    width: PositiveInt = 64
    blocks: PositiveInt = 2
    heads: PositiveInt = 2
    dropout: Share = 0.2
    window: PositiveInt = 50
    """Events that the short-term tower reads."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 60
    patience: PositiveInt = 6
    """Validations without a gain after which training stops."""
    validate_every: PositiveInt = 2
    """Epochs between two validations."""
    full_softmax_below: int = 5000
    """Catalogues smaller than this train with a softmax over all items."""
    negatives: int = 512
    """Sampled negatives of larger catalogues."""
    anchor_dropout: Share = 0.3
    """Share of the targets that are trained without their document vectors."""
    id_dropout: Share = 0.1
    """Share of the items whose id vector is hidden in a step, so that text alone can carry a new item."""
    documents: bool = True
    """Whether LLM(D_l) and LLM(D_s) enter the towers."""
    seed: int = 0

    @model_validator(mode="after")
    def _divides_into_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class RankingSettings(Section):
    strategy: Literal["content", "collaborative", "hybrid"] = "hybrid"
    neighbours: int = 200
    """Item-item neighbours kept of an item."""
    dense_below: int = 5000
    """Catalogues smaller than this use EASE, larger ones item-kNN, as the item-item part."""
    ease_regularization: float = 300.0
    k: PositiveInt = 10
    max_k: PositiveInt = 100
    diversity: Share = 0.0
    """Weight of MMR's diversity, 0 to 1."""
    category_cap: int = 0
    """Most items of one category in an answer; 0: no cap."""
    history: int = 1000
    """Latest events of a user that the service reads."""


class EvaluationSettings(Section):
    k: PositiveInt = 10
    bootstrap: PositiveInt = 1000
    """Resamples of users for an interval."""
    rolling_sample: PositiveInt = 5000
    cut_quantile: Share = 0.9
    cold_user_events: int = 5
    heavy_user_events: int = 100


class ValidationSettings(Section):
    freshness_days: float = 30.0
    """Age at the cut of the newest event above which a snapshot is stale."""
    text_share: float = 0.8
    """Share of items that should have text."""
    volume_ratio: float = 0.5
    """A snapshot smaller than this share of the last one is suspicious."""


class PlatformSettings(Section):
    postgres_port: int = 5432
    prefect_port: int = 4200
    mlflow_port: int = 5000
    serving_port: int = 3000
    start_timeout_seconds: float = 120.0


class Settings(BaseSettings):
    """Everything that a person may set; see the module's docstring for where it is read from."""

    model_config = SettingsConfigDict(
        env_prefix="DUOTEMPO_", env_nested_delimiter="__", toml_file="duotempo.toml", extra="forbid",
        use_attribute_docstrings=True, hide_input_in_errors=True,
    )  # fmt: skip

    preset: str = ""
    home: Path = Path(".duotempo")
    """Where the platform keeps its state."""
    cache: Path = Path.home() / ".cache" / "duotempo"
    """Downloaded datasets and embeddings, shared by all platforms of this user."""
    data_dir: Path | None = None
    """Folder of dataset folders that is looked at first."""
    database_url: str | None = None
    """An outside Postgres (`postgresql://user:password@host:port/name`); absent: the embedded one."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"

    events: EventSettings = EventSettings()
    interests: InterestSettings = InterestSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    fusion: FusionSettings = FusionSettings()
    ranking: RankingSettings = RankingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    validation: ValidationSettings = ValidationSettings()
    platform: PlatformSettings = PlatformSettings()

    @model_validator(mode="before")
    @classmethod
    def _names_known_sections(cls, values: dict[str, object]) -> dict[str, object]:
        sections = {name for name, field in cls.model_fields.items() if isinstance(field.default, Section)}
        for variable in os.environ:
            section, nested, _ = variable.lower().removeprefix("duotempo_").partition("__")
            if variable.upper().startswith("DUOTEMPO_") and nested and section not in sections:
                raise ValueError(f"{variable}: there is no section {section!r}, but {', '.join(sorted(sections))}")
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
        sources = [init_settings, env_settings, TomlConfigSettingsSource(settings_cls)]
        if preset := os.environ.get("DUOTEMPO_PRESET"):
            sources.append(TomlConfigSettingsSource(settings_cls, preset_file(preset)))
        return tuple(sources)


def preset_file(name: str) -> Path:
    """The file of a preset. Raises ValueError naming the known ones when there is no such preset."""
    file = PRESETS / f"{name}.toml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in PRESETS.glob("*.toml")))
        raise ValueError(f"DUOTEMPO_PRESET: no preset named {name!r}; the presets are: {known}")
    return file
