"""The model files of one version, as a folder inside a Bento: immutable, versioned, without user data.

manifest.json       schema version, encoder, cut, scoring settings; the SHA-256 of each file and of the manifest
items.parquet       one row per item; its position is the item's row in every array below
vectors.npy         (items, width) item vectors of the fusion model
texts.npy           (items, encoder dimension) unit text vectors; a zero row has no text
neighbours.*.npy    (items, items) sparse item-item weights: row = item of the history, column = candidate
keywords.*.npy      (items, terms) sparse keyword weights; terms.json names the terms
vectors.index       nearest neighbour index of a large catalogue, see components/ranking/candidates.py
texts.index         likewise, of the text vectors
text_projection.npz mean and matrix that map a text vector to the vector of an item without events
user_tower.onnx     the user tower, see components/fusion/export.py
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.arrays.ann import NearestItems
from components.arrays.sparse import Csr, Rows
from components.core.checksums import READ_ERRORS
from components.core.errors import DuotempoError
from components.core.files import changed, sha256

SCHEMA_VERSION = 4
INDEXED = ("vectors", "texts")
"""Arrays that may have an index, stored as NAME.index."""
CSR_PARTS = ("data", "indices", "indptr")
MANIFEST = "manifest.json"
FILES = "files"
CHECKSUM = "checksum"
VERSION = "model_version"
"""Key of the manifest for the served model version; added when a Bento is built."""
REMEDY = "`duotempo promote VERSION` fetches and builds it again; where MLflow's own copy is damaged, retrain"
Mode: TypeAlias = Literal["r"] | None
"""How numpy opens a file: memory-mapped or read."""


def project(texts: NDArray[np.float32], mean: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps text vectors (items, encoder dims) to item vectors (items, width): `(texts - mean) @ matrix`.

    Rows without text (all zero) stay zero.
    """
    has_text = (np.abs(texts).sum(axis=1) > 0)[:, None]
    return (np.where(has_text, texts - mean, 0) @ matrix).astype(np.float32)


class BundleError(DuotempoError):
    """The folder is not a readable bundle; the message names the file and how to fix it."""


class SchemaMismatch(BundleError):
    """The bundle has a schema version that this code does not read."""


@dataclass(frozen=True)
class Bundle:
    """Everything the recommender needs, in memory; the arrays are described at the top of this module.

    Attributes:
        items: item_id, title, category (list of str), available, published_at, popularity (positive events in the
            snapshot), recent (those of the 7 days before the cut), trained (had a training event).
        text_mean: (encoder dims,).
        text_matrix: (encoder dims, width).
        tower: ONNX model of the user tower.
        manifest: encoder, dimension, cut (ISO), mixture ({"collaborative": w, "popularity": w, "recent": w}), recency,
            half_life_days, history, schema version, and further keys of the training.
        indexes: Nearest neighbour index by array name; empty, or for all of INDEXED.
    """

    items: pa.Table
    vectors: NDArray[np.float32]
    texts: NDArray[np.float32]
    neighbours: Csr
    keywords: Csr
    terms: list[str]
    text_mean: NDArray[np.float32]
    text_matrix: NDArray[np.float32]
    tower: bytes
    manifest: dict[str, Any]
    indexes: dict[str, NearestItems] = field(default_factory=dict)

    @cached_property
    def row(self) -> dict[str, int]:
        """Row by item id, in row order."""
        return {item: row for row, item in enumerate(self.items["item_id"].to_pylist())}

    def write(self, folder: Path) -> Path:
        """Writes the bundle into `folder`. The manifest is written last; without it the folder is not a bundle.

        Raises BundleError when the folder cannot be written, such as on a full disk.
        """
        try:
            self._write(folder)
        except OSError as error:
            raise BundleError(f"{folder} cannot be written ({error}): free some space, then run again") from error
        return folder

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        pq.write_table(self.items, folder / "items.parquet")
        np.save(folder / "vectors.npy", self.vectors.astype(np.float32))
        np.save(folder / "texts.npy", self.texts.astype(np.float32))
        _write_sparse(folder, "neighbours", self.neighbours)
        _write_sparse(folder, "keywords", self.keywords)
        np.savez(folder / "text_projection.npz", mean=self.text_mean, matrix=self.text_matrix)
        for name in INDEXED:
            (folder / f"{name}.index").unlink(missing_ok=True)
        for name, index in self.indexes.items():
            index.write(folder / f"{name}.index")
        (folder / "terms.json").write_text(json.dumps(self.terms, ensure_ascii=False), encoding="utf-8")
        (folder / "user_tower.onnx").write_bytes(self.tower)
        files = {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}
        manifest = {**self.manifest, "schema_version": SCHEMA_VERSION, FILES: files}
        manifest[CHECKSUM] = checksum(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, *, mapped: bool = False) -> "Bundle":
        """Reads a bundle and verifies its checksums.

        Args:
            mapped: Memory-maps the arrays instead of reading them; the folder must not be modified meanwhile.

        Raises:
            BundleError: A file is missing or damaged.
            OtherSchema: The schema version is not supported.
        """
        manifest = check_files(folder)
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise SchemaMismatch(
                f"{folder} has schema version {manifest.get('schema_version')}, this code reads {SCHEMA_VERSION}: "
                "retrain, or serve it with the code that wrote it"
            )
        mode: Mode = "r" if mapped else None
        try:
            with np.load(folder / "text_projection.npz") as projection:
                mean, matrix = projection["mean"], projection["matrix"]
            items = pq.ParquetFile(folder / "items.parquet").read()
            terms = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
            return cls(
                items=items,
                vectors=_read_array(folder / "vectors.npy", mode),
                texts=_read_array(folder / "texts.npy", mode),
                neighbours=_read_sparse(folder, "neighbours", items.num_rows, mode),
                keywords=_read_sparse(folder, "keywords", len(terms), mode),
                terms=terms,
                text_mean=mean,
                text_matrix=matrix,
                tower=(folder / "user_tower.onnx").read_bytes(),
                manifest=manifest,
                indexes={
                    name: NearestItems.read(folder / f"{name}.index")
                    for name in INDEXED
                    if (folder / f"{name}.index").is_file()
                },
            )
        except READ_ERRORS as error:
            raise BundleError(f"{folder} is damaged ({error}). {REMEDY}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and verifies the manifest of a bundle. Raises BundleError when it is missing or damaged."""
    file = folder / MANIFEST
    if not file.is_file():
        raise BundleError(f"{folder} is not a bundle: {MANIFEST} is missing. {REMEDY}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        intact = manifest.get(CHECKSUM) in (None, checksum(manifest))  # bundles from before 2026-12 have no checksum
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{file} is damaged ({error}). {REMEDY}") from error
    if not intact:
        raise BundleError(f"{file} is damaged, not what was written. {REMEDY}")
    return dict(manifest)


def check_files(folder: Path) -> dict[str, Any]:
    """Verifies the checksum of every file and returns the manifest. Raises BundleError."""
    manifest = read_manifest(folder)
    try:
        damaged_files = changed(folder, manifest.get(FILES, {}))
    except (OSError, AttributeError) as error:
        raise BundleError(f"{folder} cannot be read ({error}). {REMEDY}") from error
    if damaged_files:
        raise BundleError(f"{folder} is damaged, not what was written: {', '.join(damaged_files)}. {REMEDY}")
    return manifest


def checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest, without the checksum itself and the served version."""
    content = {name: value for name, value in manifest.items() if name not in (CHECKSUM, VERSION)}
    plain = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _write_sparse(folder: Path, name: str, matrix: Csr) -> None:
    for part in CSR_PARTS:
        np.save(folder / f"{name}.{part}.npy", getattr(matrix, part))


def _read_sparse(folder: Path, name: str, width: int, mode: Mode) -> Rows:
    data, indices, indptr = (_read_array(folder / f"{name}.{part}.npy", mode) for part in CSR_PARTS)
    return Rows(data, indices, indptr, (len(indptr) - 1, width))


def _read_array(file: Path, mode: Mode) -> NDArray[Any]:
    return np.asarray(np.load(file, mmap_mode=mode))
