"""One interface of all text encoders, and the choice of one by settings."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from components.core.errors import DuotempoError
from components.settings import EmbeddingSettings

ENGLISH = "packaged:minilm"
MULTILINGUAL = "packaged:multilingual"


class EncoderError(DuotempoError):
    """No encoder for these settings, or it failed; the message names the model and what to do."""


class Encoder(Protocol):
    """Turns texts into unit vectors. Two encoders with equal `identity` give equal vectors."""

    name: str
    """Name of the model as in the settings."""
    revision: str
    """What exactly was loaded: a commit of the hub, a package's version or a fingerprint of a folder."""
    pooling: str
    max_length: int
    prefix: str
    dtype: str
    dimension: int
    device: str

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rows, vectors) batch by batch: int64 (b,) positions in `texts`, each once, and float32 (b, d).

        Vectors have unit length; a text without a single token has a zero row.
        """
        ...

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of the texts' tokens (special ones aside) that the vocabulary does not know, 0 to 1."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 (n, d), row i is the unit vector of text i, or zero where that is empty."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        filled = np.array([row for row, text in enumerate(texts) if text.strip()], dtype=np.int64)
        for rows, batch in self.encode_batches([texts[row] for row in filled]):
            vectors[filled[rows]] = batch
        return vectors

    @property
    def identity(self) -> dict[str, str | int]:
        """Everything that a vector depends on beside its text."""
        return {
            "name": self.name,
            "revision": self.revision,
            "pooling": self.pooling,
            "max_length": self.max_length,
            "prefix": self.prefix,
            "dtype": self.dtype,
        }

    @property
    def description(self) -> str:
        """`identity` and the dimension, as JSON."""
        return json.dumps({**self.identity, "dimension": self.dimension}, indent=1, ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Sha256 of `description`."""
        return hashlib.sha256(self.description.encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name with a digest of all that the vectors depend on: those of equal keys can be compared."""
        return f"{self.name}@{self.digest[:12]}"


def make_encoder(settings: EmbeddingSettings, device: str | None = None) -> Encoder:
    """The encoder that `settings.model` names: a packaged one, a hub id or a local transformers folder.

    device: a torch device such as "cpu" or "cuda:1"; by default CUDA when it is there.
    Raises EncoderError when there is no such model or it cannot be loaded.
    """
    if settings.model == MULTILINGUAL:
        from components.embedding.multilingual_encoder import MultilingualEncoder

        return MultilingualEncoder(settings)
    if settings.model.startswith("packaged:") and settings.model != ENGLISH:
        raise EncoderError(
            f"{settings.model!r} is no packaged encoder: set DUOTEMPO_EMBEDDING__MODEL to {ENGLISH}, {MULTILINGUAL}, "
            "a hub id or a local folder"
        )
    from components.embedding.transformers_encoder import TransformersEncoder

    return TransformersEncoder(settings, device)
