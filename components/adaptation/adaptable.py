"""A trainable encoder that can be saved to a folder."""

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
"""lora_alpha / rank. The scale of an update stays the same for every rank, and so does the learning rate."""


class AdaptableEncoder(TransformersEncoder):
    """A float32 encoder with gradients; it tokenizes and pools like any other encoder of these settings.

    With `lora` (Hu et al. 2021, arXiv 2106.09685) the weights are frozen and every linear layer gets a low-rank update;
    with `full` all weights are trained.
    """

    def __init__(self, settings: EmbeddingSettings, method: Literal["lora", "full"], rank: int) -> None:
        """Loads the weights. Raises EncoderError when that fails, AdaptationError for an encoder-decoder."""
        super().__init__(settings.model_copy(update={"dtype": "float32"}))
        if self._load(AutoConfig).is_encoder_decoder:
            raise AdaptationError(
                f"{self.name} is an encoder-decoder, whose encoder cannot be saved alone: set "
                "DUOTEMPO_EMBEDDING__MODEL to an encoder or a decoder"
            )
        model = self._model  # load now: weights loaded later, in inference mode, could not be trained
        self._adapters: LoraModel | None = None
        if method == "lora":
            config = LoraConfig(r=rank, lora_alpha=ALPHA_BY_RANK * rank, target_modules="all-linear")
            self._adapters = LoraModel(
                model, config, "adapter"
            )  # modifies the model in place and freezes the other weights

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors (texts, dims) of one batch, on the encoder's device, with gradients."""
        return self._pooled(self._tokenize([self.prefix + text for text in texts], specials=True))

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Enables training mode (dropout) within the context."""
        self._model.train()
        try:
            yield
        finally:
            self._model.eval()

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Parameters that require gradients, by name."""
        return {name: weight for name, weight in self._model.named_parameters() if weight.requires_grad}

    def copy_state(self) -> dict[str, torch.Tensor]:
        """Copy of the trainable parameters, on the CPU."""
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self.trainable_parameters().items()}

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Restores parameters from `copy_state`."""
        for name, weight in self.trainable_parameters().items():
            weight.copy_(state[name])

    def write(self, folder: Path) -> None:
        """Saves a plain transformers folder. LoRA adapters are merged into the weights; training cannot continue."""
        if self._adapters:
            self._adapters.merge_and_unload()
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
