"""Whether an encoder can read these texts at all, and which one takes over when the packaged English one cannot."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from components.embedding.encoder import ENGLISH, MULTILINGUAL, Encoder, make_encoder
from components.settings import EmbeddingSettings

SAMPLE = 2000
MEND = (
    "a multilingual model of the hub reads them best: set DUOTEMPO_EMBEDDING__MODEL to Qwen/Qwen3-Embedding-0.6B, "
    "BAAI/bge-m3 or intfloat/multilingual-e5-small"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An encoder, the settings that make it, the share of tokens it does not know (0 to 1) and what is doubtful."""

    encoder: Encoder
    settings: EmbeddingSettings
    unknown_share: float
    warnings: list[str]


def choose_encoder(texts: Sequence[str], settings: EmbeddingSettings) -> tuple[EmbeddingSettings, list[str]]:
    """Settings of an encoder that reads these texts, and warnings (logged too) for what is doubtful about it.

    Items, D_l and D_s must be embedded by one encoder: call it once on all their texts, then `embed` each with the
    returned settings and `fallback=False`. Raises EncoderError when the model cannot be had.
    """
    choice = choose(texts, settings, fallback=True)
    return choice.settings, choice.warnings


def choose(texts: Sequence[str], settings: EmbeddingSettings, *, fallback: bool, device: str | None = None) -> Choice:
    """The encoder of the settings, or with `fallback` the packaged multilingual one in place of the English one."""
    encoder = make_encoder(settings, device)
    share = measure_unknown(encoder, texts)
    if share <= settings.unknown_limit:
        return Choice(encoder, settings, share, [])
    warning = f"{settings.model} does not know {share:.0%} of the tokens of these texts"
    if not fallback or settings.model != ENGLISH:
        warning = f"{warning}; {MEND}"
        logger.warning(warning)
        return Choice(encoder, settings, share, [warning])
    warning = f"{warning}: {MULTILINGUAL} is used instead; {MEND}"
    logger.warning(warning)
    chosen = choose(texts, settings.model_copy(update={"model": MULTILINGUAL}), fallback=False, device=device)
    return Choice(chosen.encoder, chosen.settings, chosen.unknown_share, [warning, *chosen.warnings])


def measure_unknown(encoder: Encoder, texts: Sequence[str]) -> float:
    """Share of tokens unknown to the encoder over a seeded sample of at most 2,000 distinct texts, 0 to 1."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(distinct) > SAMPLE:
        distinct = random.Random(0).sample(distinct, SAMPLE)
    return encoder.unknown_share(distinct)
