"""Trains a model and packs it into a bundle.

Used by the flow for the evaluation twin and the registered model, and by `duotempo evaluate`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from components.bundle.bundle import Bundle, project
from components.fusion.inputs import Catalogue, whiten
from components.fusion.model import FusionModel
from components.fusion.packing import Packing
from components.fusion.training import Progress, train
from components.fusion.validation import NO_BLENDING, NO_VALIDATION, HoldOut, choose_blending_weights, hold_out
from components.histories.sequences import Documents, Sequences, build_sequences
from components.settings import FusionSettings, Settings

FINAL_RATE_FACTOR = 0.5
"""Factor of the learning rate in the final epochs."""


@dataclass(frozen=True)
class Fitted:
    """A trained bundle and the progress of its training."""

    bundle: Bundle
    progress: Progress


def fit(
    events: pd.DataFrame,
    catalogue: Catalogue,
    documents: Documents,
    settings: Settings,
    *,
    cut: datetime,
    held_out: HoldOut,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    show_progress: bool = False,
) -> Fitted:
    """Trains on all events and packs the model. The same input and seed give the same bundle.

    The blending weights are chosen while the validation split is unseen; the final epochs then train on it as well.

    Args:
        events: Events before `cut`, sorted by time.
        documents: Document vectors; ignored when `settings.fusion.documents` is off.
        cut: End of the training data, stored in the bundle.
        held_out: How the validation split is drawn, see `hold_out`.
        checkpoint: File to write after each epoch and to resume from.

    Raises:
        TrainingError: See `train`.
    """
    documents = documents if settings.fusion.documents else Documents.none(documents.vectors.shape[2])
    sequences = build_sequences(events, catalogue.rows, settings.events, documents)
    train_sequences, validation = hold_out(sequences, len(catalogue.items), documents, held_out, settings.fusion.seed)
    trained = np.zeros(len(catalogue.items), dtype=bool)
    trained[sequences.items[sequences.signals > 0]] = True
    mean, whitening = whiten(catalogue.texts)
    inputs = project(catalogue.texts, mean, whitening)
    torch.manual_seed(settings.fusion.seed)
    model = FusionModel(
        settings.fusion,
        torch.from_numpy(inputs if settings.fusion.text else np.zeros_like(inputs)),
        torch.from_numpy(trained),
        document_statistics(documents, whitening) if settings.fusion.documents else None,
        settings.interests.half_life_days,
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    packing = Packing(catalogue, settings, cut, trained, mean, whitening, documents.vectors.shape[2])
    history = settings.ranking.history
    progress = train(
        model,
        train_sequences,
        documents,
        validation,
        settings.fusion,
        history=history,
        checkpoint=checkpoint,
        fingerprint=fingerprint(sequences, catalogue, settings),
        on_epoch=on_epoch,
        show_progress=show_progress,
    )
    blending_weights = NO_BLENDING
    if settings.ranking.mixture:
        blending_weights = choose_blending_weights(packing.pack(model, train_sequences, NO_BLENDING), validation)
    if validation.states and settings.fusion.finish_epochs:
        train(model, sequences, documents, NO_VALIDATION, final_epoch_settings(settings.fusion), history=history)
    return Fitted(packing.pack(model, sequences, blending_weights), progress)


def final_epoch_settings(settings: FusionSettings) -> FusionSettings:
    """Settings of the final epochs, which also train on the validation split."""
    return settings.model_copy(
        update={"epochs": settings.finish_epochs, "learning_rate": settings.learning_rate * FINAL_RATE_FACTOR}
    )


def document_statistics(documents: Documents, whitening: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (2, encoder dims) of the existing LLM(D_l) and LLM(D_s), and the whitening matrix of the item texts."""
    present = np.abs(documents.vectors).sum(axis=2, keepdims=True) > 0
    means = documents.vectors.sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return torch.from_numpy(means.astype(np.float32)), torch.from_numpy(whitening)


def fingerprint(sequences: Sequences, catalogue: Catalogue, settings: Settings) -> str:
    """SHA-256 of the data and settings of a training run; checkpoints with another fingerprint are not resumed."""
    digest = hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True, default=str).encode())
    for array in (sequences.offsets, sequences.items, sequences.times, sequences.anchors, catalogue.texts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
