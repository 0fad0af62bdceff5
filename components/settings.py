"""One settings object for the whole platform.

Later wins: the defaults below, the preset that `DUOTEMPO_PRESET` names (`components/presets/NAME.toml`, or
`HOME/presets/NAME.toml`, which `duotempo search` writes), the file that `DUOTEMPO_SETTINGS_FILE` names (or else
`duotempo.toml` in the working directory, if there is one), then `DUOTEMPO_*` variables, a nested name joined by two
underscores (`DUOTEMPO_FUSION__WIDTH=128`).
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from components.columns import EVENTS

PRESETS = Path(__file__).parent / "presets"
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A group of settings; an unknown name is an error, so that a typing error never passes silently."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class EventSettings(Section):
    weights: dict[str, Amount] = Field(
        default={
            "view": 0.3, "click": 0.5, "cart": 0.8, "purchase": 1.0, "rating": 1.0, "review": 1.0,
            "like": 1.0, "dislike": 1.0, "hide": 1.0, "comment": 0.6, "post": 0.6,
        }
    )  # fmt: skip
    """How strongly an event speaks of an interest."""
    signs: dict[str, Literal[-1, 1]] = Field(
        default={name: -1 if name in ("dislike", "hide") else 1 for name in EVENTS}
    )
    """+1 speaks for the item, -1 against it."""
    dislike_below: FiniteFloat = 0.0
    """A rating or a review under this value (stars of 5) counts as a dislike. Off by default: what people rate low
    still tells what they take up next."""
    future_tolerance_seconds: Amount = 300.0
    """An event further ahead of the clock than this is rejected."""

    @field_validator("weights", "signs")
    @classmethod
    def _names_known_events(cls, value: dict[str, float]) -> dict[str, float]:
        if set(value) != set(EVENTS):
            raise ValueError(f"needs exactly the events {', '.join(EVENTS)}")
        return value


class InterestSettings(Section):
    half_life_days: PositiveFloat = 60.0
    """Time after which an event counts half in the long-term interest."""
    long_items: PositiveInt = 500
    """History kept in the long-term interest, newest first."""
    long_keywords: PositiveInt = 12
    long_categories: PositiveInt = 6
    short_days: PositiveFloat = 14.0
    """The recent window: events of the last days before the anchor..."""
    short_items: PositiveInt = 10
    """...and of these at most so many."""
    short_keywords: PositiveInt = 8
    document_events: PositiveInt = 7
    """Events from which on a person has documents for the LLM; fewer are told by the items themselves."""
    item_keywords: PositiveInt = 8
    """Keywords kept of an item's text."""
    anchors: NonNegativeInt = 3
    """Anchors of a user that training may use, beside the one at the cut."""


class EmbeddingSettings(Section):
    model: str = "packaged:minilm"
    """`packaged:minilm`, `packaged:multilingual`, or any id of the Hugging Face hub (encoder or decoder)."""
    revision: str = "main"
    pooling: Literal["mean", "cls", "last"] = "mean"
    prefix: str = ""
    """Instruction put before every text."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_length: PositiveInt = 128
    """Tokens of a text that are read; the rest is cut off."""
    token_budget: PositiveInt = 4096
    """Tokens of a batch, padding included."""
    batch_size: PositiveInt = 256
    unknown_limit: Share = 0.10
    """Share of unknown tokens above which the encoder is the wrong one for these texts."""


class AdaptationSettings(Section):
    """Fine-tuning of the encoder on what people take up one after the other, see `components.embedding.adaptation`."""

    method: Literal["lora", "full"] = "lora"
    """Low-rank adapters beside the frozen weights, merged into them at the end; or all weights."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    following: PositiveInt = 3
    """How many of a person's next positive items an item and a document are paired with..."""
    within_days: PositiveFloat = 7.0
    """...if they come at most so many days later."""
    max_pairs: PositiveInt = 20_000
    """Of more pairs a sample is drawn, half of it with documents."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the people whose pairs are kept from training and stop it early."""
    temperature: PositiveFloat = 0.05
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Pairs of a batch: each item of the others is a negative."""
    learning_rate: PositiveFloat = 2e-4
    """The highest one, after the warm-up; `full` wants about a tenth of what suits `lora`."""
    warmup: Part = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: Amount = 1e-2
    epochs: PositiveInt = 3
    patience: PositiveInt = 1
    """Epochs without a gain on the held-out pairs after which training stops."""


class FusionSettings(Section):
    kind: str = "gated"
    """A name of `components.fusion.fusions.FUSIONS`, or `module:Class` for one of your own."""
    width: Annotated[int, Field(ge=8)] = 64
    blocks: PositiveInt = 2
    heads: PositiveInt = 2
    dropout: Part = 0.3
    window: PositiveInt = 50
    """Events that the short-term tower reads."""
    learning_rate: PositiveFloat = 2e-3
    weight_decay: Amount = 1e-2
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 60
    patience: PositiveInt = 6
    """Validations without a gain after which training stops."""
    finish_epochs: NonNegativeInt = 2
    """Epochs at the end, at half the learning rate, in which the held-out events are learned too."""
    validate_every: PositiveInt = 2
    """Epochs between two validations."""
    full_softmax_below: NonNegativeInt = 5000
    """Catalogues smaller than this train with a softmax over all items."""
    negatives: PositiveInt = 512
    """Sampled negatives of larger catalogues."""
    anchor_dropout: Share = 0.3
    """Share of the targets that are trained without their document vectors."""
    id_dropout: Part = 0.1
    """Share of the items whose id vector is hidden in a step, so that text alone can carry a new item."""
    text: bool = True
    """Whether the LLM's vectors of the item texts enter the item tower."""
    documents: bool = True
    """Whether LLM(D_l) and LLM(D_s) enter the towers."""
    weight_average: Part = 0.98
    """Decay a step of the moving average of the weights, which is what is kept; 0: the last weights themselves."""
    in_batch_negatives: NonNegativeInt = 0
    """Sampled negatives, beside `negatives`, that are targets of the same batch, with logQ correction."""
    item_dropout: Part = 0.2
    """Share of the history's events that are hidden in a step."""
    gap_dropout: Share = 0.5
    """Share of the windows that are trained without the time that passed since the last event."""
    shuffle_ties: bool = False
    """Whether the events of one moment change their order from epoch to epoch."""
    event_weight: Share = 0.0
    """Exponent of the signal in a target's weight; 0: all events weigh alike, 1: a purchase as its setting says."""
    rarity_weight: Share = 0.0
    """Exponent of an item's rarity in a target's weight; 0: all items weigh alike."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    workers: PositiveInt = 1
    """Processes in which a retraining trains together, through Ray Train when more than one."""

    @model_validator(mode="after")
    def _divides_into_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class RankingSettings(Section):
    strategy: Literal["content", "collaborative", "hybrid"] = "hybrid"
    mixture: bool = True
    """Whether the hybrid adds the collaborative part and popularity to the fused interest."""
    neighbours: PositiveInt = 500
    """Item-item neighbours kept of an item."""
    dense_below: NonNegativeInt = 10_000
    """Catalogues smaller than this solve the item-item part in closed form, larger ones take its first order."""
    regularization: PositiveFloat = 300.0
    """λ of the item-item part."""
    recency: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """What an item of the history weighs in the item-item part, against the one after it."""
    k: PositiveInt = 10
    max_k: PositiveInt = 100
    diversity: Share = 0.0
    """Weight of MMR's diversity, 0 to 1."""
    category_cap: NonNegativeInt = 0
    """Most items of one category in an answer; 0: no cap."""
    history: PositiveInt = 1000
    """Latest events of a user that the service reads."""

    @model_validator(mode="after")
    def _default_list_is_allowed(self) -> Self:
        if self.k > self.max_k:
            raise ValueError(f"k ({self.k}) must not pass max_k ({self.max_k})")
        return self


class EvaluationSettings(Section):
    k: PositiveInt = 10
    bootstrap: PositiveInt = 1000
    """Resamples of users for an interval."""
    rolling_sample: PositiveInt = 5000
    cut_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.9
    cold_user_events: NonNegativeInt = 5
    heavy_user_events: PositiveInt = 100


class ValidationSettings(Section):
    freshness_days: PositiveFloat = 30.0
    """Age at the cut of the newest event above which a snapshot is stale."""
    text_share: Share = 0.8
    """Share of items that should have text."""
    volume_ratio: Share = 0.5
    """A snapshot smaller than this share of the last one is suspicious."""


class MonitoringSettings(Section):
    """What the flow `monitor` compares, and when it starts a retraining early, see docs/monitoring.md."""

    window_days: PositiveFloat = 7.0
    """The recent window, counted back from now..."""
    reference_days: PositiveFloat = 28.0
    """...and the days before it, which it is compared with."""
    min_events: PositiveInt = 500
    """Events of either window below which no drift is told: small samples differ by chance."""
    retrain_drift: PositiveFloat = 0.25
    """Drift (PSI) above which a retraining starts early."""
    retrain_events: PositiveInt = 10_000
    """Events that the newest version does not know, from which on a retraining starts early."""
    retrain_pause_hours: PositiveFloat = 12.0
    """No retraining starts early within so many hours after the start of another."""


class PlatformSettings(Section):
    postgres_port: Port = 5432
    prefect_port: Port = 4200
    mlflow_port: Port = 5000
    hook_port: Port = 4300
    serving_port: Port = 3000
    start_timeout_seconds: PositiveFloat = 120.0


class Settings(BaseSettings):
    """Everything that a person may set; see the module's docstring for where it is read from."""

    model_config = SettingsConfigDict(
        env_prefix="DUOTEMPO_", env_nested_delimiter="__", extra="forbid", use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )  # fmt: skip

    preset: str = ""
    """Name of the preset in force: `DUOTEMPO_PRESET`."""
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
    adaptation: AdaptationSettings = AdaptationSettings()
    fusion: FusionSettings = FusionSettings()
    ranking: RankingSettings = RankingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    validation: ValidationSettings = ValidationSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
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
        file = TomlConfigSettingsSource(settings_cls, settings_file())
        if "preset" in file.toml_data:
            raise ValueError(f"preset: {file.toml_file_path} cannot choose it; set DUOTEMPO_PRESET instead")
        sources = [init_settings, env_settings, file]
        told = {**file.toml_data, **env_settings(), **init_settings()}
        if preset := told.get("preset"):
            home = Path(told.get("home", cls.model_fields["home"].default))
            sources.append(TomlConfigSettingsSource(settings_cls, preset_file(preset, home)))
        return tuple(sources)


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
    folders = (PRESETS, own_presets(home))
    for folder in folders:
        if (file := folder / f"{name}.toml").is_file() and Path(name).name == name:
            return file
    packaged, own = (", ".join(sorted(file.stem for file in folder.glob("*.toml"))) for folder in folders)
    raise ValueError(
        f"DUOTEMPO_PRESET: no preset named {name!r}; the presets are: {packaged}; your own in {folders[1]}: "
        + (own or "none, `duotempo search` makes one")
    )


def own_presets(home: Path) -> Path:
    """The folder of the presets that searches wrote."""
    return home.expanduser() / "presets"
