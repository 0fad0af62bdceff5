"""Whether an encoder can read these texts at all, and which one takes over when the packaged English one cannot."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from components.embedding.encoder import ENGLISH, MULTILINGUAL, Encoder, make_encoder
from components.settings import EmbeddingSettings

SAMPLE = 2000
REMEDY = (
    "a multilingual model of the hub reads them best: set DUOTEMPO_EMBEDDING__MODEL to Qwen/Qwen3-Embedding-0.6B, "
    "BAAI/bge-m3 or intfloat/multilingual-e5-small"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An encoder, the share of tokens of the texts that it does not know (0 to 1), and what is doubtful about it."""

    encoder: Encoder
    unknown_share: float
    warnings: list[str]


def choose(texts: Sequence[str], settings: EmbeddingSettings) -> Choice:
    """The encoder of the settings; where the packaged English one cannot read the texts, the multilingual one.

    Items, D_l and D_s must be embedded by one encoder: ask with all their texts at once. Raises EncoderError.
    """
    encoder = make_encoder(settings)
    share = measure_unknown(encoder, texts)
    if share <= settings.unknown_limit:
        return Choice(encoder, share, [])
    warning = f"{settings.model} does not know {share:.0%} of the tokens of these texts"
    if settings.model != ENGLISH:
        warning = f"{warning}; {REMEDY}"
        logger.warning(warning)
        return Choice(encoder, share, [warning])
    warning = f"{warning}: {MULTILINGUAL} is used instead; {REMEDY}"
    logger.warning(warning)
    chosen = choose(texts, settings.model_copy(update={"model": MULTILINGUAL}))
    return Choice(chosen.encoder, chosen.unknown_share, [warning, *chosen.warnings])


def candidates(settings: EmbeddingSettings) -> list[Encoder]:
    """The encoders that `choose` may choose, the one of the settings first. Raises EncoderError."""
    found = [make_encoder(settings)]
    if settings.model == ENGLISH:
        found.append(make_encoder(settings.model_copy(update={"model": MULTILINGUAL})))
    return found


def measure_unknown(encoder: Encoder, texts: Sequence[str]) -> float:
    """Share of tokens unknown to the encoder over a seeded sample of at most 2,000 distinct texts, 0 to 1."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(distinct) > SAMPLE:
        distinct = random.Random(0).sample(distinct, SAMPLE)
    return encoder.unknown_share(distinct)
