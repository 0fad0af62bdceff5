"""Settings of fusion, ranking and evaluation."""

import logging
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from components.core.columns import EVENTS
from components.settings.section import NonNegative, Section, Share, ShareBelowOne

REMOVED = frozenset(("event_weight", "rarity_weight"))
"""Settings of `fusion` that 0.2.0 removed, as the ablation showed no use; 0.3.0 will reject them."""
logger = logging.getLogger(__name__)
FUSION_KINDS = ("weighted", "concat", "attention", "gated", "long", "short")


def _check_fusion_kind(kind: str) -> str:
    if kind not in FUSION_KINDS and ":" not in kind:
        raise ValueError(
            f"no fusion named {kind!r}: give {', '.join(FUSION_KINDS)}, or module:Class for a custom fusion"
        )
    return kind


class FusionSettings(Section):
    kind: Annotated[str, AfterValidator(_check_fusion_kind)] = "gated"
    """A name of FUSION_KINDS, or `module:Class` for a custom fusion."""
    width: Annotated[int, Field(ge=8)] = 64
    blocks: PositiveInt = 2
    heads: PositiveInt = 2
    dropout: ShareBelowOne = 0.3
    window: PositiveInt = 50
    """Most events that the short-term tower reads."""
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegative = 1e-2
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 60
    patience: PositiveInt = 6
    """Validations without improvement after which training stops."""
    finish_epochs: NonNegativeInt = 2
    """Final epochs, at half the learning rate, that train on the held-out events, too."""
    validate_every: PositiveInt = 2
    """Epochs between validations."""
    full_softmax_below: NonNegativeInt = 5000
    """Catalogue size below which training uses a softmax over all items."""
    negatives: PositiveInt = 512
    """Sampled negatives for larger catalogues."""
    anchor_dropout: Share = 0.3
    """Share of the targets trained without document vectors."""
    id_dropout: ShareBelowOne = 0.1
    """Share of the items whose id vector is dropped in a step, so that text alone can represent a new item."""
    text: bool = True
    """Whether the item tower uses the LLM's vectors of the item texts."""
    documents: bool = True
    """Whether the user towers use LLM(D_l) and LLM(D_s)."""
    weight_average: ShareBelowOne = 0.98
    """Decay per step of the moving average of the weights, which is the final model; 0: no averaging."""
    in_batch_negatives: NonNegativeInt = 0
    """In-batch negatives in addition to `negatives`, with logQ correction."""
    item_dropout: ShareBelowOne = 0.2
    """Share of the history's events dropped in a step."""
    gap_dropout: Share = 0.5
    """Share of the windows trained without the time since the last event."""
    shuffle_ties: bool = False
    """Whether events with equal times are shuffled in every epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    workers: PositiveInt = 1
    """Training processes; more than one use Ray Train."""

    @model_validator(mode="before")
    @classmethod
    def _ignore_removed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not (found := REMOVED & values.keys()):
            return values
        for name in sorted(found):
            logger.warning("fusion.%s was removed and has no effect: delete it from the settings", name)
        return {name: value for name, value in values.items() if name not in REMOVED}

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class RankingSettings(Section):
    strategy: Literal["content", "collaborative", "hybrid"] = "hybrid"
    mixture: bool = True
    """Whether the hybrid blends the fused interest with the collaborative score and popularity."""
    neighbours: PositiveInt = 500
    """Most item-item neighbours of an item."""
    dense_below: NonNegativeInt = 10_000
    """Catalogue size below which the item-item model is solved in closed form; larger ones use its first order."""
    exact_below: PositiveInt = 50_000
    """Catalogue size below which every item is scored; larger catalogues use indexes built at registration."""
    regularization: PositiveFloat = 300.0
    """L2 regularization (λ) of the item-item model."""
    recency: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Decay per item of the history in the item-item model, relative to the next item."""
    k: PositiveInt = 10
    max_k: PositiveInt = 100
    diversity: Share = 0.0
    """Weight of MMR's diversity, 0 to 1."""
    category_cap: NonNegativeInt = 0
    """Most items of one category in a list; 0: no cap."""
    tail_share: Share = 0.0
    """Minimum share of a list's top ranks for items outside the most popular fifth; 0: none."""
    exploration: Share = 0.0
    """Probability per rank that its item is drawn from all candidates; 0: always the best, see docs/monitoring.md."""
    history: PositiveInt = 1000
    """Most recent events of a user that the service reads."""
    exclude_seen: list[str] = Field(default=[name for name in EVENTS if name not in ("hide", "dislike")])
    """Events after which an item is not recommended to the user again; [] recommends seen items, too."""
    exclude_hidden: bool = True
    """Whether items that the user has hidden are excluded."""
    exclude_disliked: bool = True
    """Whether items that the user dislikes, or has rated or reviewed below `events.dislike_below`, are excluded."""

    @field_validator("exclude_seen")
    @classmethod
    def _check_events(cls, value: list[str]) -> list[str]:
        if unknown := set(value) - set(EVENTS):
            raise ValueError(f"{', '.join(sorted(unknown))}: there is no such event; they are {', '.join(EVENTS)}")
        return value

    @model_validator(mode="after")
    def _check_list_length(self) -> Self:
        if self.k > self.max_k:
            raise ValueError(f"k ({self.k}) must not pass max_k ({self.max_k})")
        return self


class EvaluationSettings(Section):
    k: PositiveInt = 10
    bootstrap: PositiveInt = 1000
    """Bootstrap resamples of users per confidence interval."""
    rolling_sample: PositiveInt = 5000
    cut_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.9
    cold_user_events: NonNegativeInt = 5
    heavy_user_events: PositiveInt = 100
