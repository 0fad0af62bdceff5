"""An encoder whose weights can be trained and written to a folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, LoraModel
from transformers import AutoConfig

from components.adaptation.errors import AdaptationError
from components.embedding.transformers_encoder import TransformersEncoder
from components.settings import EmbeddingSettings

ALPHA_BY_RANK = 2
"""An adapter's update is scaled by alpha / rank: a constant, so that another rank needs no other learning rate."""


class AdaptableEncoder(TransformersEncoder):
    """Reads texts as any encoder of these settings does, in float32, and has gradients.

    With `lora` (Hu et al. 2021, arXiv 2106.09685) the weights stay frozen, and every linear layer gets a low-rank
    update beside it; with `full` all weights learn.
    """

    def __init__(self, settings: EmbeddingSettings, method: Literal["lora", "full"], rank: int) -> None:
        """Loads the weights. Raises EncoderError when it cannot, AdaptationError for an encoder-decoder."""
        super().__init__(settings.model_copy(update={"dtype": "float32"}))
        if self._load(AutoConfig).is_encoder_decoder:
            raise AdaptationError(
                f"{self.name} is an encoder-decoder, of which the half that encodes cannot be written alone: set "
                "DUOTEMPO_EMBEDDING__MODEL to an encoder or a decoder"
            )
        model = self._model  # loaded now: weights that are loaded in inference mode would never learn
        self._adapters: LoraModel | None = None
        if method == "lora":
            config = LoraConfig(r=rank, lora_alpha=ALPHA_BY_RANK * rank, target_modules="all-linear")
            self._adapters = LoraModel(model, config, "adapter")  # puts them into the very model, and freezes the rest

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors (n, d) of one batch of texts, on the encoder's device, with gradients."""
        return self._pooled(self._tokenize([self.prefix + text for text in texts], specials=True))

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Dropout is on while the context lasts."""
        self._model.train()
        try:
            yield
        finally:
            self._model.eval()

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: weight for name, weight in self._model.named_parameters() if weight.requires_grad}

    def copy_state(self) -> dict[str, torch.Tensor]:
        """What was learned so far, on the CPU."""
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self.trainable_parameters().items()}

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Goes back to a copied state."""
        for name, weight in self.trainable_parameters().items():
            weight.copy_(state[name])

    def write(self, folder: Path) -> None:
        """Writes a plain transformers folder; adapters are merged into the weights, and learn no more."""
        if self._adapters:
            self._adapters.merge_and_unload()
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
