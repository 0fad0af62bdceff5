"""Content-addressed cache of text vectors: one folder per encoder, with immutable Parquet parts.

Every batch is written as a part as soon as it is computed, so a killed run loses at most one batch. Several processes
may share a folder: parts have unique names and are written atomically, and one process at a time merges small parts.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from components.embedding.encoder import Encoder
from components.embedding.vectors import VectorsError, read_table, write_vectors

PART_BYTES = 32 * 2**20
"""Target size of merged parts; parts above half of it are not merged."""
SMALL_PARTS = 16
"""Number of small parts above which they are merged."""
STALE_SECONDS = 3600.0
"""Age after which an unfinished file is assumed to belong to a dead process."""

logger = logging.getLogger(__name__)


class Cache:
    """Cached vectors of one encoder. `encoder.json` in its folder holds everything that the vectors depend on."""

    def __init__(self, root: Path, encoder: Encoder) -> None:
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", encoder.name).strip("-")[-60:]
        self.folder = root / f"{slug}-{encoder.digest[:16]}"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "encoder.json").write_text(encoder.description, encoding="utf-8")
        self._dimension = encoder.dimension

    def read(self, hashes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Looks up texts by hash.

        Returns:
            Vectors (texts, dims), zero where missing, and a mask (texts,) of the cached ones.
        """
        row_of = {name: row for row, name in enumerate(hashes)}
        vectors = np.zeros((len(hashes), self._dimension), np.float32)
        is_cached = np.zeros(len(hashes), bool)
        seen: set[Path] = set()
        while not is_cached.all() and (new := set(self._parts()) - seen):  # look again: a merge may have replaced parts
            for stored, part in self._load(sorted(new)):
                names = stored.to_pylist()
                positions_in_part = [at for at, name in enumerate(names) if name in row_of]
                rows = [row_of[names[at]] for at in positions_in_part]
                vectors[rows] = part[positions_in_part]
                is_cached[rows] = True
            seen |= new
        return vectors, is_cached

    def append(self, hashes: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Writes vectors (texts, dims) as a new part. Raises VectorsError."""
        write_vectors(self.folder / f"{uuid.uuid4().hex}.parquet", hashes, vectors)

    def compact(self) -> None:
        """Merges small parts when there are many, unless another process is merging."""
        if len(self._small_parts()) <= SMALL_PARTS:
            return
        try:
            with FileLock(self.folder / "merge.lock", timeout=0):
                group, size = [], 0
                for path, bytes_ in self._small_parts().items():
                    group.append(path)
                    size += bytes_
                    if size >= PART_BYTES:
                        self._merge(group)
                        group, size = [], 0
                self._merge(group)
                self._remove_stale()
        except Timeout:
            logger.info("another process is merging %s", self.folder)

    def _merge(self, parts: Sequence[Path]) -> None:
        """Merges parts into one without duplicates; the old parts are deleted after the new one is written."""
        loaded = list(self._load(parts))
        if len(loaded) < 2:
            return
        hashes = np.concatenate([stored.to_numpy(zero_copy_only=False) for stored, _ in loaded])
        vectors = np.concatenate([part for _, part in loaded])
        _, first = np.unique(hashes.astype(str), return_index=True)
        self.append(list(hashes[first]), vectors[first])
        for path in parts:
            path.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        for path in self.folder.glob("*.tmp"):
            stat = stat_or_none(path)
            if stat and time.time() - stat.st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)

    def _load(self, parts: Sequence[Path]) -> Iterator[tuple[pa.StringArray, NDArray[np.float32]]]:
        for path in parts:
            try:
                hashes, vectors = read_table(path)
            except FileNotFoundError:
                continue  # merged by another process in the meantime
            except VectorsError as error:
                logger.warning("cache part ignored, its texts are embedded again: %s", error)
                continue
            if vectors.shape[1] == self._dimension:
                yield hashes, vectors
            else:
                logger.warning("cache part %s ignored: %d columns, not %d", path, vectors.shape[1], self._dimension)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _small_parts(self) -> dict[Path, int]:
        """Parts to merge, and their sizes in bytes."""
        stats = ((path, stat_or_none(path)) for path in self._parts())
        return {path: stat.st_size for path, stat in stats if stat and stat.st_size < PART_BYTES / 2}


def stat_or_none(path: Path) -> os.stat_result | None:
    """`stat` of a file; None when another process has removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
