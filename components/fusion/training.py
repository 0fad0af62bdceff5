"""The training loop: AdamW, early stopping on the validation split, resumable checkpoints.

The same loop serves one process and a torch.distributed group, in which each process trains on its share of the
batches and all take the same steps and decisions.
"""

import logging
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from components.core.errors import DuotempoError
from components.core.files import atomic_write
from components.fusion.distributed import average_gradients, broadcast_from_first, processes, rank, sum_over_processes
from components.fusion.model import FusionModel
from components.fusion.step import batch_loss
from components.fusion.validation import Validation, gain
from components.histories.sequences import Documents, Sequences, Windows, WindowSampler
from components.histories.states import collate
from components.settings import FusionSettings

log = logging.getLogger(__name__)
MAX_SCORES = 40_000_000
"""Maximum scores held in memory during validation."""


class CheckpointError(DuotempoError):
    """A checkpoint cannot be written; the message has the file and the fix."""


def save_checkpoint(file: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically (temporary file and rename). Raises CheckpointError."""
    try:
        with atomic_write(file) as part:
            torch.save({"fingerprint": fingerprint, **state}, part)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {file} cannot be written ({error}): free some space, then run again"
        ) from error


def load_checkpoint(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """Reads a checkpoint; None if it is missing, damaged, or has another fingerprint (other data or settings)."""
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged (%s): training starts from the first epoch", file, error)
        return None
    if saved["fingerprint"] != fingerprint:
        log.info("%s belongs to other data or settings: training starts from the first epoch", file)
        return None
    return saved


class TrainingError(DuotempoError):
    """Training cannot continue; the message has the batch or input and the fix."""


@dataclass
class Progress:
    """Progress of a training run, saved in its checkpoints.

    Attributes:
        epoch: Last finished epoch.
        best_epoch: Epoch with the best validation gain.
        best_gain: Its mean gain, see `components.fusion.holdout.gain`.
        losses: Mean loss of each epoch.
        validations: (epoch, mean gain) of each validation.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_gain: float = -1.0
    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)


def train(
    model: FusionModel,
    sequences: Sequences,
    documents: Documents,
    validation: Validation,
    settings: FusionSettings,
    *,
    history: int,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    on_epoch: Callable[[Progress], None] | None = None,
    show_progress: bool = False,
) -> Progress:
    """Trains `model` in place and leaves it with the averaged weights of its best epoch.

    Validated and kept is an exponential moving average of the weights over the steps. Without a validation split all
    epochs are trained.

    Args:
        history: Maximum number of events per user.
        checkpoint: File written after each epoch by process 0. If it exists with the same fingerprint, all processes
            resume from it.
        fingerprint: Identifies data and settings.
        on_epoch: Called after each epoch.

    Raises:
        TrainingError: The loss is not finite (the last good checkpoint is kept), or no user has two positive events.
        CheckpointError: A checkpoint cannot be written.
    """
    broadcast_from_first(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    sampler = WindowSampler(sequences, settings, history)
    averaged = moving_average_of(model, settings.weight_average)
    progress, best = Progress(), copy_weights(averaged)
    if checkpoint and (saved := load_checkpoint(checkpoint, fingerprint)):
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        averaged.load_state_dict(saved["averaged"])
        progress, best = Progress(**saved["progress"]), saved["best"]
        log.info("resuming from epoch %d of %s", progress.epoch, checkpoint)
    bar = tqdm(
        total=settings.epochs,
        initial=progress.epoch,
        desc="fusion",
        unit="epoch",
        disable=not show_progress,
        leave=False,
    )
    for epoch in range(progress.epoch + 1, settings.epochs + 1):
        if progress.epoch - progress.best_epoch >= settings.patience * settings.validate_every:
            break
        torch.manual_seed((settings.seed + rank()) * 100_003 + epoch)
        batches = sampler.epoch(np.random.default_rng([settings.seed, epoch]), rank(), processes())
        progress.losses.append(train_epoch(model, averaged, optimizer, batches, documents, settings, epoch))
        progress.epoch = epoch
        if not validation.states:
            progress.best_epoch, best = epoch, copy_weights(averaged)
        elif epoch % settings.validate_every == 0 or epoch == settings.epochs:
            validation_gain = validate(
                cast(FusionModel, averaged.module), validation, history, documents.vectors.shape[2]
            )
            progress.validations.append((epoch, validation_gain))
            if validation_gain > progress.best_gain:
                progress.best_gain, progress.best_epoch, best = validation_gain, epoch, copy_weights(averaged)
        if checkpoint and rank() == 0:
            state = {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "progress": vars(progress),
                "best": best,
            }
            save_checkpoint(checkpoint, fingerprint, state)
        bar.set_postfix(loss=f"{progress.losses[-1]:.3f}", gain=f"{progress.best_gain:.4f}")
        bar.update()
        if on_epoch:
            on_epoch(progress)
    bar.close()
    model.load_state_dict(best)
    return progress


def moving_average_of(model: FusionModel, decay: float) -> AveragedModel:
    """A moving average of the model's weights, sharing its buffers."""
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for copied, module in zip(averaged.module.modules(), model.modules(), strict=True):
        for name, buffer in module.named_buffers(recurse=False):
            setattr(copied, name, buffer)
    return averaged


def copy_weights(averaged: AveragedModel) -> dict[str, Any]:
    """A copy of the current averaged weights."""
    return {name: value.clone() for name, value in averaged.module.state_dict().items()}


def train_epoch(
    model: FusionModel,
    averaged: AveragedModel,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Windows],
    documents: Documents,
    settings: FusionSettings,
    epoch: int,
) -> float:
    """Trains one epoch and returns the mean loss of its targets.

    Each step follows the gradient of the mean loss over the targets of all processes.

    Args:
        batches: This process's share; every process must have the same number.
    """
    model.train()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for number, windows in enumerate(batches):
        loss, targets = batch_loss(model, windows, documents, settings)
        [targets_of_all] = sum_over_processes([targets], device)
        if not targets_of_all:
            continue
        optimizer.zero_grad(set_to_none=True)
        if targets:
            loss = loss / targets
            require_finite("loss", loss, epoch, number, windows)
            loss.backward()
            total += loss.item() * targets
            count += targets
        average_gradients(model.parameters(), targets / targets_of_all)
        gradient_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        require_finite("gradient", gradient_norm, epoch, number, windows)
        optimizer.step()
        averaged.update_parameters(model)
    total_of_all, count_of_all = sum_over_processes([total, count], device)
    if not count_of_all:
        raise TrainingError(
            "no user has two events with a positive signal: there is nothing to learn; ingest more events"
        )
    return total_of_all / count_of_all


def require_finite(name: str, value: Tensor, epoch: int, number: int, windows: Windows) -> None:
    """Raises TrainingError with the epoch and batch if the value is infinite or NaN."""
    if not torch.isfinite(value):
        items = sorted(set(windows.targets[windows.targets >= 0].tolist()))[:5]
        raise TrainingError(
            f"the {name} became {value.item()} in epoch {epoch}, batch {number} (items {items}…): lower "
            "DUOTEMPO_FUSION__LEARNING_RATE and run again; the last good checkpoint is kept"
        )


@torch.inference_mode()
def validate(model: FusionModel, validation: Validation, history: int, dimension: int) -> float:
    """Mean gain of the held-out targets, each ranked among all items that the user has not seen.

    Each process ranks its share; all return the same mean.
    """
    model.eval()
    device = next(model.parameters()).device
    items = model.items()
    batch_size = max(1, min(256, MAX_SCORES // len(items)))
    local_states, local_targets = validation.states[rank() :: processes()], validation.targets[rank() :: processes()]
    gains = np.zeros(len(local_states))
    for start in range(0, len(local_states), batch_size):
        states = local_states[start : start + batch_size]
        batch = collate(states, history=history, dimension=dimension)
        documents = torch.from_numpy(batch.documents)[:, None].to(device)
        present = torch.from_numpy(batch.present)[:, None].to(device)
        long, short = model.user(
            items[torch.from_numpy(batch.items).to(device)],
            torch.from_numpy(batch.ages).to(device),
            torch.from_numpy(batch.signals).to(device),
            torch.from_numpy(batch.ages[:, -model.window :]).to(device),
            model.user.read(documents, present),
        )
        scores = (long + short)[:, -1] @ items.T
        targets = torch.from_numpy(local_targets[start : start + batch_size]).to(device)
        target_scores = scores.gather(1, targets[:, None])
        for row, state in enumerate(states):
            scores[row, torch.from_numpy(state.items).to(device)] = -torch.inf
        gains[start : start + batch_size] = gain(1 + (scores > target_scores).sum(dim=1).cpu().numpy())
    total, count = sum_over_processes([float(gains.sum()), len(gains)], device)
    return total / count
