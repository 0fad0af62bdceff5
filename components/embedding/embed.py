"""Embeds texts with one encoder: each distinct text once, and only those that are not cached."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from components.embedding.cache import Cache
from components.embedding.choose import choose
from components.embedding.vectors import text_hash
from components.settings import EmbeddingSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embeddings:
    """Vectors of texts, and how they were computed."""

    vectors: NDArray[np.float32]
    """Unit vectors (texts, dims) in the order of the texts; zero for an empty text."""
    encoder: str
    """Name and digest; vectors of two runs are comparable if it is the same."""
    revision: str
    dimension: int
    computed: int
    """Distinct texts that were embedded in this call."""
    reused: int
    """Distinct texts whose vectors were cached."""
    unknown_share: float
    """Share of tokens unknown to the encoder, 0 to 1."""
    warnings: list[str]
    device: str
    seconds: float
    """Time spent on the computed texts, loading of the weights included."""


def embed(
    texts: Sequence[str],
    settings: EmbeddingSettings,
    cache_folder: Path,
    *,
    progress: bool,
    on_batch: Callable[[float], None] | None = None,
) -> Embeddings:
    """Embeds texts through the cache in `cache_folder`, which is created if missing.

    Falls back to the packaged multilingual encoder if the packaged English one cannot read the texts. Finished batches
    are cached even if the process is killed.

    Args:
        progress: Shows a progress bar on stderr.
        on_batch: Called after each batch with the share of texts that are done, 0 to 1.

    Raises:
        EncoderError: The model is not available or fails.
        VectorsError: The cache cannot be written.
    """
    choice = choose(texts, settings)
    encoder = choice.encoder
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    hashes = [text_hash(text) for text in distinct]
    cache = Cache(cache_folder, encoder)
    vectors, is_cached = cache.read(hashes)
    pending = np.flatnonzero(~is_cached)

    started, done = time.perf_counter(), 0
    with tqdm(total=len(pending), desc=encoder.name, unit=" texts", disable=not progress) as bar:
        for rows, batch in encoder.encode_batches([distinct[row] for row in pending]):
            vectors[pending[rows]] = batch
            cache.append([hashes[row] for row in pending[rows]], batch)
            bar.update(len(rows))
            done += len(rows)
            if on_batch:
                on_batch(done / len(pending))
    seconds = time.perf_counter() - started
    cache.compact()
    logger.info("%s on %s: %d texts embedded, %d reused", encoder.name, encoder.device, len(pending), is_cached.sum())

    row_of = {text: row for row, text in enumerate(distinct)}
    aligned = np.zeros((len(texts), encoder.dimension), np.float32)
    filled = [row for row, text in enumerate(texts) if text.strip()]
    aligned[filled] = vectors[[row_of[texts[row]] for row in filled]]
    return Embeddings(
        vectors=aligned,
        encoder=encoder.key,
        revision=encoder.revision,
        dimension=encoder.dimension,
        computed=len(pending),
        reused=int(is_cached.sum()),
        unknown_share=choice.unknown_share,
        warnings=choice.warnings,
        device=encoder.device,
        seconds=seconds,
    )
