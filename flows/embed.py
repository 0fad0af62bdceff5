"""Deployment `embed/gpu`: embeds the texts of a Parquet file into another one, with a cache, on a GPU worker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from components.cluster.embedding import embed_on_cluster
from components.core.columns import Columns as C
from components.core.errors import DuotempoError
from components.embedding.embed import Embeddings
from components.embedding.embed import embed as embed_cached
from components.embedding.vectors import text_hash, write_vectors
from components.settings import EmbeddingSettings, Settings
from flows.policies import RETRY_LONG_RUNNING
from infra.orchestration.client import worker


class TextsError(DuotempoError):
    """The file of texts cannot be read; the message names it and how to fix it."""


@flow(name="embed", persist_result=True, result_serializer="json", timeout_seconds=24 * 3600)
def embed(texts_file: str, out_file: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Embeds the `text` column of a Parquet file; `components.embedding.vectors.read_vectors` reads the result.

    A retry computes only what is not cached yet.

    Args:
        settings: Fields of EmbeddingSettings that override this machine's.

    Returns:
        JSON: encoder, revision, dimension, computed, reused, unknown_share, warnings, worker, device and vectors (the
        path written).

    Raises:
        TextsError, EncoderError, VectorsError: The texts, the encoder or the vectors cannot be used.
    """
    logger = get_run_logger()
    machine = Settings()
    chosen = EmbeddingSettings.model_validate({**machine.embedding.model_dump(), **(settings or {})})
    result = vectors(Path(texts_file), Path(out_file), chosen, machine.cache / "embeddings", machine.ray_address)
    for warning in result.warnings:
        logger.warning(warning)
    logger.info("%s on %s: %d computed, %d reused", result.encoder, result.device, result.computed, result.reused)
    create_table_artifact(table=[_row(result)], key="embeddings", description="\n".join(result.warnings) or None)
    return {
        "encoder": result.encoder,
        "revision": result.revision,
        "dimension": result.dimension,
        "computed": result.computed,
        "reused": result.reused,
        "unknown_share": result.unknown_share,
        "warnings": result.warnings,
        "worker": worker(),
        "device": result.device,
        "vectors": out_file,
    }


@task(task_run_name="vectors", persist_result=False, **RETRY_LONG_RUNNING)
def vectors(
    texts_file: Path, out_file: Path, settings: EmbeddingSettings, cache: Path, ray_address: str | None
) -> Embeddings:
    """Runs `embed_file` with retries; computed vectors stay in the cache."""
    shown = 0
    bar = cast(UUID, create_progress_artifact(0.0, key="embedding", description="Texts that the cache did not hold"))

    def report_progress(share: float) -> None:
        nonlocal shown
        if (percent := int(100 * share)) > shown:
            shown = percent
            update_progress_artifact(bar, float(percent))

    result = embed_file(texts_file, out_file, settings, cache, ray_address, report_progress)
    update_progress_artifact(bar, 100.0)
    return result


def embed_file(
    texts_file: Path,
    out_file: Path,
    settings: EmbeddingSettings,
    cache: Path,
    ray_address: str | None = None,
    on_batch: Callable[[float], None] | None = None,
) -> Embeddings:
    """Writes `content_hash` and `vector` of each distinct non-empty text to `out_file`, atomically.

    Args:
        cache: Folder of the vector cache.
        ray_address: Ray cluster to compute on; without it, this process computes.
        on_batch: Called with the share done, 0 to 1, after each batch.
    """
    texts = read_texts(texts_file)
    if ray_address:
        result = embed_on_cluster(texts, settings, cache, ray_address, progress=True, on_batch=on_batch)
    else:
        result = embed_cached(texts, settings, cache, progress=True, on_batch=on_batch)
    distinct = {text: row for row, text in enumerate(texts) if text.strip()}
    write_vectors(out_file, [text_hash(text) for text in distinct], result.vectors[list(distinct.values())])
    return result


def read_texts(path: Path) -> list[str]:
    """Reads the texts of a Parquet file; a null becomes an empty text. Raises TextsError."""
    try:
        return [text or "" for text in pq.read_table(path, columns=[C.TEXT])[C.TEXT].cast(pa.string()).to_pylist()]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise TextsError(f"{path} is no Parquet file with a column {C.TEXT!r} ({error}): write it again") from error


def _row(result: Embeddings) -> dict[str, Any]:
    return {
        "encoder": Path(result.encoder).name if Path(result.encoder).is_absolute() else result.encoder,
        "worker": worker(),
        "device": result.device,
        "computed": result.computed,
        "reused": result.reused,
        "unknown share": f"{result.unknown_share:.1%}",
        "texts a second": round(result.computed / result.seconds, 1) if result.computed else None,
    }
