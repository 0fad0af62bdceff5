"""Embedding on a Ray cluster: Ray Data actors, each with the same encoder as a single process."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from components.cluster.cluster import connected, devices, unwrap_error
from components.embedding.cache import Cache
from components.embedding.choose import choose
from components.embedding.embed import Embeddings, embed
from components.embedding.encoder import Encoder, EncoderError, make_encoder
from components.embedding.vectors import text_hash
from components.settings import EmbeddingSettings

Block = dict[str, NDArray[Any]]
BLOCK_SIZE = 1024
"""Texts per block, the unit of work of an actor; it is computed again when its node dies."""

logger = logging.getLogger(__name__)


def embed_on_cluster(
    texts: Sequence[str],
    settings: EmbeddingSettings,
    cache_folder: Path,
    address: str,
    *,
    progress: bool,
    on_batch: Callable[[float], None] | None = None,
) -> Embeddings:
    """`embed` on the Ray cluster at `address`: actors compute the vectors that the cache in `cache_folder` lacks.

    Only this process writes to the cache, each block as it arrives, so the nodes need no access to the folder, and a
    rerun computes only missing blocks. Blocks of a node that dies are computed by another. Vectors equal those of
    `embed` up to float32 rounding: a text is padded to the longest of its batch, and batches differ.

    Args:
        progress: Shows a progress bar on stderr.
        on_batch: Called after each block with the share of texts that are done, 0 to 1.

    Raises:
        RayClusterError: The cluster cannot be used.
        EncoderError: The model is not available or fails.
        VectorsError: The cache cannot be written.
    """
    encoder = choose(texts, settings).encoder
    cache = Cache(cache_folder, encoder)
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    _, is_cached = cache.read([text_hash(text) for text in distinct])
    pending = [distinct[row] for row in np.flatnonzero(~is_cached)]
    computed_on: set[str] = set()
    done = 0
    started = time.perf_counter()
    if pending:
        with (
            connected(address),
            tqdm(total=len(pending), desc=encoder.name, unit=" texts", disable=not progress) as bar,
        ):
            for block in _blocks(pending, settings, encoder):
                cache.append([text_hash(pending[row]) for row in block["row"]], block["vector"])
                computed_on.update(block["device"])
                bar.update(len(block["row"]))
                done += len(block["row"])
                if on_batch:
                    on_batch(done / len(pending))
    seconds = time.perf_counter() - started
    result = embed(texts, settings, cache_folder, progress=False)
    return replace(
        result,
        computed=result.computed + len(pending),
        reused=result.reused - len(pending),
        device=", ".join(sorted(computed_on)) or result.device,
        seconds=seconds,
    )


def _blocks(texts: list[str], settings: EmbeddingSettings, encoder: Encoder) -> Iterator[Block]:
    """Blocks in order of completion: `row` of the text (texts,), `vector` (texts, dims) and `device` (texts,)."""
    import pyarrow as pa
    import ray
    from ray.exceptions import RayError

    kind, available = devices()
    blocks = [
        pa.table(
            {"row": np.arange(start, min(start + BLOCK_SIZE, len(texts))), "text": texts[start : start + BLOCK_SIZE]}
        )
        for start in range(0, len(texts), BLOCK_SIZE)
    ]
    actors = min(available, len(blocks))
    pinned_settings = settings.model_copy(update={"model": encoder.name, "revision": encoder.revision})
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    encoded = ray.data.from_arrow(blocks).map_batches(
        _EncoderActor,
        fn_constructor_args=(pinned_settings, encoder.identity),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        num_cpus=1 if kind == "CPU" else 0,
        num_gpus=1 if kind == "GPU" else 0,
    )
    try:
        yield from cast(Iterator[Block], encoded.iter_batches(batch_size=None, batch_format="numpy"))
    except RayError as error:
        if cause := unwrap_error(error):
            raise cause from error
        raise


class _EncoderActor:
    """The encoder on one device, loaded with the first block."""

    def __init__(self, settings: EmbeddingSettings, identity: dict[str, Any]) -> None:
        self._settings, self._identity = settings, identity

    def __call__(self, block: Block) -> Block:
        vectors = self._encoder.encode(block["text"].tolist())
        return {"row": block["row"], "vector": vectors, "device": np.full(len(vectors), self._encoder.device)}

    @cached_property
    def _encoder(self) -> Encoder:
        encoder = make_encoder(self._settings)
        if encoder.identity != self._identity:
            raise EncoderError(
                f"a node of the Ray cluster has another {self._settings.model} ({encoder.identity}) than the "
                f"submitting machine ({self._identity}): install the same release on all nodes, and put a model's "
                "folder where all of them see it"
            )
        return encoder
