"""Settings of what events mean, of the interests that are read from them, and of the encoder."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from components.core.columns import EVENTS
from components.settings.section import NonNegative, Section, Share, ShareBelowOne


class EventSettings(Section):
    weights: dict[str, NonNegative] = Field(
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
    earliest: Annotated[date, Field(ge=date(1970, 1, 1))] = date(1990, 1, 1)
    """An event before this day is rejected."""
    future_tolerance_seconds: NonNegative = 300.0
    """An event further ahead of the clock than this is rejected."""

    @field_validator("weights", "signs")
    @classmethod
    def _has_every_event(cls, value: dict[str, float]) -> dict[str, float]:
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
    """Fine-tuning of the encoder on what people take up one after the other, see `components.adaptation`."""

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
    warmup: ShareBelowOne = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: NonNegative = 1e-2
    epochs: PositiveInt = 3
    patience: PositiveInt = 1
    """Epochs without a gain on the held-out pairs after which training stops."""
