"""The interface of text encoders, and a factory by settings."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from components.core.errors import DuotempoError
from components.settings import EmbeddingSettings

ENGLISH = "packaged:minilm"
MULTILINGUAL = "packaged:multilingual"


class EncoderError(DuotempoError):
    """The encoder does not exist, cannot be loaded or fails; the message names the model and how to fix it."""


class Encoder(Protocol):
    """Encodes texts as unit vectors. Encoders with equal `identity` give equal vectors."""

    name: str
    """Model name as in the settings."""
    revision: str
    """Pins the content: a commit of the hub, a package version, or a fingerprint of a folder."""
    pooling: str
    max_length: int
    prefix: str
    dtype: str
    dimension: int
    device: str

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Encodes batch by batch, in any order.

        Yields:
            Positions in `texts` (batch,), each once, and their unit vectors (batch, dims); a text without tokens has a
            zero vector.
        """
        ...

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of tokens, 0 to 1, that are not in the vocabulary; special tokens do not count."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (texts, dims) in the order of the texts; zero for an empty text."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        filled = np.array([row for row, text in enumerate(texts) if text.strip()], dtype=np.int64)
        for rows, batch in self.encode_batches([texts[row] for row in filled]):
            vectors[filled[rows]] = batch
        return vectors

    @property
    def identity(self) -> dict[str, str | int]:
        """Everything that a vector depends on besides its text."""
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
        """SHA-256 of `description`."""
        return hashlib.sha256(self.description.encode()).hexdigest()

    @property
    def key(self) -> str:
        """Name and short digest; vectors with equal keys are comparable."""
        return f"{self.name}@{self.digest[:12]}"


def make_encoder(settings: EmbeddingSettings, device: str | None = None) -> Encoder:
    """Creates the encoder that `settings.model` names: a packaged one, a hub id or a local transformers folder.

    Args:
        device: A torch device such as "cpu" or "cuda:1"; by default CUDA if available.

    Raises:
        EncoderError: The model does not exist or cannot be loaded.
    """
    if settings.model == MULTILINGUAL:
        from components.embedding.multilingual_encoder import MultilingualEncoder

        return MultilingualEncoder(settings)
    if settings.model.startswith("packaged:") and settings.model != ENGLISH:
        raise EncoderError(
            f"{settings.model!r} is not a packaged encoder: set DUOTEMPO_EMBEDDING__MODEL to {ENGLISH}, "
            f"{MULTILINGUAL}, a hub id or a local folder"
        )
    from components.embedding.transformers_encoder import TransformersEncoder

    return TransformersEncoder(settings, device)
