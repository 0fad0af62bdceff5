"""Settings of the fusion, of the ranking, and of how both are evaluated."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from components.core.columns import EVENTS
from components.settings.section import NonNegative, Section, Share, ShareBelowOne

FUSION_KINDS = ("weighted", "concat", "attention", "gated", "long", "short")


def _known_fusion(kind: str) -> str:
    if kind not in FUSION_KINDS and ":" not in kind:
        raise ValueError(
            f"no fusion named {kind!r}: give {', '.join(FUSION_KINDS)}, or module:Class for one of your own"
        )
    return kind


class FusionSettings(Section):
    kind: Annotated[str, AfterValidator(_known_fusion)] = "gated"
    """A name of FUSION_KINDS, or `module:Class` for one of your own."""
    width: Annotated[int, Field(ge=8)] = 64
    blocks: PositiveInt = 2
    heads: PositiveInt = 2
    dropout: ShareBelowOne = 0.3
    window: PositiveInt = 50
    """Events that the short-term tower reads."""
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegative = 1e-2
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
    id_dropout: ShareBelowOne = 0.1
    """Share of the items whose id vector is hidden in a step, so that text alone can carry a new item."""
    text: bool = True
    """Whether the LLM's vectors of the item texts enter the item tower."""
    documents: bool = True
    """Whether LLM(D_l) and LLM(D_s) enter the towers."""
    weight_average: ShareBelowOne = 0.98
    """Decay a step of the moving average of the weights, which is what is kept; 0: the last weights themselves."""
    in_batch_negatives: NonNegativeInt = 0
    """Sampled negatives, beside `negatives`, that are targets of the same batch, with logQ correction."""
    item_dropout: ShareBelowOne = 0.2
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
    exact_below: PositiveInt = 50_000
    """Catalogues smaller than this are scored item by item; larger ones get indexes at registration."""
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
    tail_share: Share = 0.0
    """Least share of the first places of a list that goes to items outside the most popular fifth; 0: no rule."""
    exploration: Share = 0.0
    """Probability, a place, that its item is drawn from all candidates; 0: always the best, see docs/monitoring.md."""
    history: PositiveInt = 1000
    """Latest events of a user that the service reads."""
    exclude_seen: list[str] = Field(default=[name for name in EVENTS if name not in ("hide", "dislike")])
    """Events after which an item is not shown to the user again; [] shows what they know, too."""
    exclude_hidden: bool = True
    """Whether an item that the user has hidden is not shown to them again."""
    exclude_disliked: bool = True
    """Likewise one that they dislike, or have rated or reviewed under `events.dislike_below`."""

    @field_validator("exclude_seen")
    @classmethod
    def _check_events(cls, value: list[str]) -> list[str]:
        if unknown := set(value) - set(EVENTS):
            raise ValueError(f"{', '.join(sorted(unknown))}: there is no such event; they are {', '.join(EVENTS)}")
        return value

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
