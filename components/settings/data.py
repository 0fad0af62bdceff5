"""Settings of events, interests and the text encoder."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from components.core.addresses import has_password
from components.core.columns import EVENTS
from components.settings.section import NonNegative, Section, Share, ShareBelowOne

SOURCE_NAME = r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$"


class EventSettings(Section):
    weights: dict[str, NonNegative] = Field(
        default={
            "view": 0.3, "click": 0.5, "cart": 0.8, "purchase": 1.0, "rating": 1.0, "review": 1.0,
            "like": 1.0, "dislike": 1.0, "hide": 1.0, "comment": 0.6, "post": 0.6,
        }
    )  # fmt: skip
    """How strongly each kind of event indicates an interest."""
    signs: dict[str, Literal[-1, 1]] = Field(
        default={name: -1 if name in ("dislike", "hide") else 1 for name in EVENTS}
    )
    """+1 for positive events, -1 for negative ones."""
    dislike_below: FiniteFloat = 0.0
    """A rating or review below this value (stars of 5) counts as a dislike. Off by default: even low-rated items help
    to predict what users choose next."""
    earliest: Annotated[date, Field(ge=date(1970, 1, 1))] = date(1990, 1, 1)
    """Events before this day are rejected."""
    future_tolerance_seconds: NonNegative = 300.0
    """Events further in the future than this are rejected."""

    @field_validator("weights", "signs")
    @classmethod
    def _has_every_event(cls, value: dict[str, float]) -> dict[str, float]:
        if set(value) != set(EVENTS):
            raise ValueError(f"needs exactly the events {', '.join(EVENTS)}")
        return value


class SourceSettings(Section):
    """A database or a place of files that `duotempo ingest --from NAME` and the flow `ingest` read, see
    docs/sources.md."""

    address: str
    """`postgresql://user@host/name`, `https://…`, `s3://…` or a path, without a password: that is in the home, in
    `secrets/source-NAME`, or in DUOTEMPO_SOURCE_NAME_SECRET."""
    query: str | None = None
    """What to select; databases only."""
    mapping: Path | None = None
    """The mapping.toml by which the rows are read."""
    role: Literal["events", "items"] | None = None
    """What the rows are; absent: told by their columns."""
    watermark: str | None = None
    """The query's column by which new rows are told from old ones; absent: all rows are read each time."""
    overlap: NonNegative = 0.0
    """How far behind the watermark reading begins, for rows that come late: seconds, or a number for a column of
    numbers."""

    @field_validator("address")
    @classmethod
    def _has_no_password(cls, value: str) -> str:
        if has_password(value):
            raise ValueError("contains a password; write it into HOME/secrets/source-NAME instead")
        return value


class IngestSettings(Section):
    max_rejected_share: Share = 0.5
    """`duotempo ingest` exits with 3 if a larger share of the rows is rejected."""
    memory_mb: Annotated[int, Field(ge=100)] = 700
    """Memory of the engine that reads and judges files, in MiB; what exceeds it goes to disk."""
    sources: dict[Annotated[str, Field(pattern=SOURCE_NAME)], SourceSettings] = Field(default={})
    """Databases and places of files, by name: `[ingest.sources.NAME]`."""


class InterestSettings(Section):
    half_life_days: PositiveFloat = 60.0
    """Half-life of an event's weight in the long-term interest."""
    long_items: PositiveInt = 500
    """Most events in the long-term interest, the newest ones."""
    long_keywords: PositiveInt = 12
    long_categories: PositiveInt = 6
    short_days: PositiveFloat = 14.0
    """The recent window: days before the anchor..."""
    short_items: PositiveInt = 10
    """...and most events in it."""
    short_keywords: PositiveInt = 8
    document_events: PositiveInt = 7
    """Fewest events for which a user gets documents for the LLM; below that the items themselves suffice."""
    item_keywords: PositiveInt = 8
    """Most keywords of an item's text."""
    anchors: NonNegativeInt = 3
    """Most anchors of a user in training, besides the one at the cut."""


class EmbeddingSettings(Section):
    model: str = "packaged:minilm"
    """`packaged:minilm`, `packaged:multilingual`, or any model id of the Hugging Face hub (encoder or decoder)."""
    revision: str = "main"
    pooling: Literal["mean", "cls", "last"] = "mean"
    prefix: str = ""
    """Instruction prepended to every text."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_length: PositiveInt = 128
    """Most tokens of a text; the rest is truncated."""
    token_budget: PositiveInt = 4096
    """Tokens per batch, including padding."""
    batch_size: PositiveInt = 256
    unknown_limit: Share = 0.10
    """Share of unknown tokens above which the encoder counts as unsuitable for the texts."""


class AdaptationSettings(Section):
    """Fine-tuning of the encoder on items that users choose in sequence, see `components.adaptation`."""

    method: Literal["lora", "full"] = "lora"
    """`lora`: low-rank adapters, merged into the frozen weights at the end; `full`: all weights."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    following: PositiveInt = 3
    """How many of a user's next positive items an item or document is paired with..."""
    within_days: PositiveFloat = 7.0
    """...within so many days."""
    max_pairs: PositiveInt = 20_000
    """Most pairs; larger sets are sampled, half of the sample with documents."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the users whose pairs are held out for early stopping."""
    temperature: PositiveFloat = 0.05
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Pairs per batch; the items of the other pairs are negatives."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate, after the warm-up; `full` needs about a tenth of that for `lora`."""
    warmup: ShareBelowOne = 0.1
    """Share of the steps that are warm-up."""
    weight_decay: NonNegative = 1e-2
    epochs: PositiveInt = 3
    patience: PositiveInt = 1
    """Epochs without improvement on the held-out pairs after which training stops."""
