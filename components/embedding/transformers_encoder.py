"""Text encoders from transformers models: encoders and decoder LLMs."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from components.embedding.choose import locate
from components.embedding.encoder import Encoder, EncoderError
from components.settings import EmbeddingSettings

TOKENIZE_CHUNK = 8192
"""Texts tokenized and sorted by length at a time; bounds memory."""
logger = logging.getLogger(__name__)


def make_batches(lengths: Sequence[int], token_budget: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Groups texts of similar length into batches, longest first.

    A batch has at most `batch_size` texts and `token_budget` tokens, padding included; a longer text is its own batch.
    The longest come first, so that running out of memory shows at once.

    Args:
        lengths: Number of tokens of each text.

    Returns:
        Positions in `lengths` of each batch; every position occurs once.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(lengths[order[start]], 1)
        size = max(min(batch_size, token_budget // longest), 1)
        batches.append(order[start : start + size])
        start += size
    return batches


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pools hidden states into unit vectors; padding on either side is ignored.

    Args:
        hidden: (batch, tokens, dims).
        mask: Attention mask (batch, tokens) of 0 and 1.
        pooling: `mean` of the tokens, `cls` (the first token) or `last`.

    Returns:
        (batch, dims) float32; zero where the mask is all zero.
    """
    hidden, weights = hidden.float(), mask.float()
    if pooling == "mean":
        vectors = torch.einsum(
            "btd,bt->bd", hidden, weights
        )  # normalisation makes the division by the length unnecessary
    else:
        first = mask.argmax(dim=1)
        at = first if pooling == "cls" else first + mask.sum(dim=1) - 1
        at = at.clamp(min=0)
        vectors = hidden[torch.arange(len(hidden), device=hidden.device), at]
    vectors = vectors * mask.any(dim=1, keepdim=True)
    return torch.nn.functional.normalize(vectors, dim=1)


class TransformersEncoder(Encoder):
    """An `AutoModel` with pooling, instruction prefix and unit vectors. Weights are loaded on first use."""

    def __init__(self, settings: EmbeddingSettings, device: str | None = None) -> None:
        """Loads the configuration and the tokenizer. Raises EncoderError when the model is not available."""
        self._source = locate(settings.model, settings.revision)
        self._settings = settings
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        config = self._load(AutoConfig).get_text_config()
        self._tokenizer = self._load(AutoTokenizer)

        self.name = settings.model
        self.revision = self._source.revision
        self.pooling = settings.pooling
        self.prefix = settings.prefix
        self.dtype = settings.dtype
        self.dimension = config.hidden_size
        self.max_length = self._token_limit(getattr(config, "max_position_embeddings", None))
        self.device = str(self._device)
        if self._device.type == "cuda":
            self.device += f" ({torch.cuda.get_device_name(self._device)})"

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for start in range(0, len(texts), TOKENIZE_CHUNK):
            tokens = self._tokenize(
                [self.prefix + text for text in texts[start : start + TOKENIZE_CHUNK]], specials=True
            )
            lengths = [len(ids) for ids in tokens]
            for rows in make_batches(lengths, self._settings.token_budget, self._settings.batch_size):
                yield rows + start, self._forward([tokens[row] for row in rows])

    def unknown_share(self, texts: Sequence[str]) -> float:
        """See `Encoder`; 0 for a byte-level vocabulary, which covers every text."""
        unknown = self._tokenizer.unk_token_id
        if unknown is None or not texts:
            return 0.0
        tokens = self._tokenize(list(texts), specials=False)
        total = sum(map(len, tokens))
        return sum(ids.count(unknown) for ids in tokens) / total if total else 0.0

    def _tokenize(self, texts: list[str], *, specials: bool) -> list[list[int]]:
        encoded = self._tokenizer(
            texts, truncation=True, max_length=self.max_length, add_special_tokens=specials,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip
        return encoded["input_ids"]

    def _forward(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        try:
            with torch.inference_mode():
                vectors = self._pooled(tokens).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise EncoderError(
                f"{self.device} has too little memory for {self.name} with a batch of {len(tokens)} texts, the longest "
                f"of {max(map(len, tokens))} tokens: "
                "lower DUOTEMPO_EMBEDDING__TOKEN_BUDGET or set DUOTEMPO_EMBEDDING__DTYPE=bfloat16"
            ) from error
        if not np.isfinite(vectors).all():
            raise EncoderError(
                f"{self.name} produced non-finite numbers in {self.dtype}: set DUOTEMPO_EMBEDDING__DTYPE to float32 or "
                "bfloat16"
            )
        return vectors

    def _pooled(self, tokens: list[list[int]]) -> torch.Tensor:
        """Unit vectors (batch, dims) of tokenized texts, with gradients if enabled.

        Always pads on the right, regardless of the tokenizer, so that positions count from the first token of a text.
        """
        ids = pad_sequence([torch.tensor(row, dtype=torch.long) for row in tokens], True, self._padding)
        if not ids.shape[1]:
            return torch.zeros(len(tokens), self.dimension)
        lengths = torch.tensor([len(row) for row in tokens])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(self._device)
        output = self._model(input_ids=ids.to(self._device), attention_mask=mask)
        return pool(output.last_hidden_state, mask, self.pooling)

    @cached_property
    def _model(self) -> PreTrainedModel:
        transformers_logging.disable_progress_bar()
        model = self._load(AutoModel, dtype=getattr(torch, self.dtype))
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        return model.to(self._device).eval()

    @property
    def _padding(self) -> int:
        """Id of the padding token. Decoders often have none; their end-of-text token is used, it is masked anyway."""
        for token in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return token
        return 0

    def _token_limit(self, positions: int | None) -> int:
        """The settings' `max_length`, or the model's own limit if smaller."""
        limit = min(self._tokenizer.model_max_length, positions or self._settings.max_length)
        if limit < self._settings.max_length:
            logger.warning(
                "%s reads at most %d tokens, not the %d of the settings", self.name, limit, self._settings.max_length
            )
        return min(limit, self._settings.max_length)

    def _load(self, kind: Any, **options: Any) -> Any:
        if self._source.on_hub:
            options["revision"] = self._source.revision
        try:
            return kind.from_pretrained(self._source.path, **options)
        except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
            raise EncoderError(
                f"{self._settings.model!r} cannot be loaded by transformers' {kind.__name__} ({error}): check that it "
                "is complete and of a kind that transformers knows, or use packaged:minilm"
            ) from error
