"""Text vectors in Parquet: each row has the SHA-256 of the text and the vector. The text itself is not stored."""

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.core.columns import Columns as C
from components.core.errors import DuotempoError


class VectorsError(DuotempoError):
    """A vector file is missing, damaged or incomplete; the message names it and how to fix it."""


def text_hash(text: str) -> str:
    """SHA-256 of the text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_vectors(path: Path, hashes: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
    """Writes vectors (texts, dims) with the hashes of their texts, atomically. Raises VectorsError."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pa.table({C.CONTENT_HASH: pa.array(hashes, pa.string()), C.VECTOR: column})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        pq.write_table(table, unfinished, compression="none", use_dictionary=False, write_page_checksum=True)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise VectorsError(f"{path} cannot be written ({error}): free some space or choose another folder") from error


def read_table(path: Path) -> tuple[pa.StringArray, NDArray[np.float32]]:
    """Reads the hashes (texts,) and vectors (texts, dims) of a file.

    Raises VectorsError when it is damaged, FileNotFoundError when it does not exist.
    """
    try:
        table = pq.read_table(path, columns=[C.CONTENT_HASH, C.VECTOR], page_checksum_verification=True)
        vectors = table[C.VECTOR].combine_chunks()
        width = vectors.type.list_size
        return table[C.CONTENT_HASH].combine_chunks(), vectors.flatten().to_numpy().reshape(-1, width)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
        raise VectorsError(f"{path} holds no readable vectors ({error}): write it again") from error


def read_vectors(path: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors (texts, dims) of a file in the order of `texts`; zero for an empty text.

    Raises VectorsError when the file is missing or damaged, or lacks the vector of a text.
    """
    try:
        stored, vectors = read_table(path)
    except FileNotFoundError as error:
        raise VectorsError(f"{path} does not exist: run the embed flow first") from error
    filled = [row for row, text in enumerate(texts) if text.strip()]
    rows = pc.index_in(pa.array([text_hash(texts[row]) for row in filled], pa.string()), value_set=stored)
    if rows.null_count:
        missing = texts[filled[rows.is_null().index(True).as_py()]]
        raise VectorsError(
            f"{path} has no vector for {rows.null_count} of {len(texts)} texts, such as {missing[:60]!r}: "
            "run the embed flow on these texts"
        )
    aligned = np.zeros((len(texts), vectors.shape[1]), np.float32)
    aligned[filled] = vectors[rows.to_numpy()]
    return aligned
