"""Texts to vectors: one encoder for all, each distinct text once, and only those that the cache does not hold."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from components.embedding.cache import Cache
from components.embedding.choose import choose
from components.embedding.vectors import text_hash
from components.settings import EmbeddingSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embeddings:
    """Float32 (n, d) unit vectors aligned with the texts, a zero row for an empty one, and how they came about."""

    vectors: np.ndarray
    encoder: str
    """Name and digest: vectors of two runs can be compared when it is the same."""
    revision: str
    dimension: int
    computed: int
    """Distinct texts that were embedded now."""
    reused: int
    """Distinct texts that came from the cache."""
    unknown_share: float
    """Share of tokens that this encoder does not know, 0 to 1."""
    warnings: list[str]
    device: str
    seconds: float
    """Spent on the computed texts, loading of the weights included."""


def embed(
    texts: Sequence[str],
    settings: EmbeddingSettings,
    cache_folder: Path,
    *,
    progress: bool,
    on_batch: Callable[[float], None] | None = None,
) -> Embeddings:
    """Embeds texts through the cache in `cache_folder`, which is made when it is missing.

    progress: a bar with texts a second on stderr. on_batch: is told after each batch what share of the texts is done.
    The packaged multilingual encoder takes over where the packaged English one cannot read the texts. Finished batches
    are in the cache even if the process is killed. Raises EncoderError when the model cannot be had or fails,
    VectorsError when the cache cannot be written.
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
