"""Content-addressed cache of vectors: one folder an encoder, in it Parquet parts that are written once.

Every batch becomes a part as soon as it is computed, so a killed run loses at most one batch. Several processes may
use a folder at once: parts have names of their own, appear whole, and one process at a time merges small ones.
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

from components.embedding.encoder import Encoder
from components.embedding.vectors import VectorsError, read_table, write_vectors

PART_BYTES = 32 * 2**20
"""Size that merged parts aim at; a part above half of it is left alone."""
SMALL_PARTS = 16
"""Small parts above which they are merged."""
STALE_SECONDS = 3600.0
"""Age above which an unfinished file belongs to a process that died."""

logger = logging.getLogger(__name__)


class Cache:
    """Vectors of one encoder. The folder's name tells the model, its `encoder.json` all that a vector depends on."""

    def __init__(self, root: Path, encoder: Encoder) -> None:
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", encoder.name).strip("-")[-60:]
        self.folder = root / f"{slug}-{encoder.digest[:16]}"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "encoder.json").write_text(encoder.description, encoding="utf-8")
        self._dimension = encoder.dimension

    def read(self, hashes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (n, d) of the hashes, and bool (n,) whether each was found; the rows of the others are zero."""
        row_of = {name: row for row, name in enumerate(hashes)}
        vectors = np.zeros((len(hashes), self._dimension), np.float32)
        is_cached = np.zeros(len(hashes), bool)
        seen: set[Path] = set()
        while not is_cached.all() and (new := set(self._parts()) - seen):  # again: a merge may have replaced parts
            for stored, part in self._load(sorted(new)):
                names = stored.to_pylist()
                positions_in_part = [at for at, name in enumerate(names) if name in row_of]
                rows = [row_of[names[at]] for at in positions_in_part]
                vectors[rows] = part[positions_in_part]
                is_cached[rows] = True
            seen |= new
        return vectors, is_cached

    def append(self, hashes: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps float32 (b, d) vectors as a part of their own."""
        write_vectors(self.folder / f"{uuid.uuid4().hex}.parquet", hashes, vectors)

    def compact(self) -> None:
        """Merges small parts once there are many, unless another process is at it."""
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
            logger.info("another process merges %s", self.folder)

    def _merge(self, parts: Sequence[Path]) -> None:
        """Makes one part of many, each hash once; the old ones go only after the new one is there."""
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

    def _load(self, parts: Sequence[Path]) -> Iterator[tuple[pa.StringArray, np.ndarray]]:
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
        """Parts worth merging and their bytes."""
        stats = ((path, stat_or_none(path)) for path in self._parts())
        return {path: stat.st_size for path, stat in stats if stat and stat.st_size < PART_BYTES / 2}


def stat_or_none(path: Path) -> os.stat_result | None:
    """What the file system knows of a file, None when another process has removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
