"""The training loop: AdamW, early stopping on held-out targets, checkpoints that a killed run resumes from.

One loop for one process and for several: in a process group of torch.distributed each process learns from its share of
the batches, and all of them take every step and every decision alike.
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
from components.core.files import replacing
from components.fusion.distributed import average_gradients, broadcast_from_first, processes, rank, sum_over_processes
from components.fusion.holdout import Validation, gain
from components.fusion.model import FusionModel
from components.fusion.step import weighted_loss
from components.histories.sequences import Documents, Sequences, Windows, WindowSampler
from components.histories.states import collate
from components.settings import FusionSettings

log = logging.getLogger(__name__)
MAX_SCORES = 40_000_000
"""Scores that a validation holds at once."""


class CheckpointError(DuotempoError):
    """A checkpoint cannot be written; the message names the file and says how to fix it."""


def save_checkpoint(file: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Writes `state` beside `file` and renames it, so that a kill never leaves half of one. Raises CheckpointError."""
    try:
        with replacing(file) as part:
            torch.save({"fingerprint": fingerprint, **state}, part)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {file} cannot be written ({error}): free some space, then run again"
        ) from error


def load_checkpoint(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none, it is damaged, or it belongs to other data or settings."""
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged (%s): starting anew", file, error)
        return None
    if saved["fingerprint"] != fingerprint:
        log.info("%s belongs to another run: starting anew", file)
        return None
    return saved


class TrainingError(DuotempoError):
    """Training cannot go on; the message names the batch or the input, and says how to fix it."""


@dataclass
class Progress:
    """What a training run has reached; it is what a checkpoint holds beside the weights."""

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

    The weights that are validated and kept are an exponential moving average over the steps.
    checkpoint: file written after each epoch, by process 0; when it is there and bears the same fingerprint, the run
    goes on from it, in all processes.
    Without held-out targets all epochs are trained. Raises TrainingError when the loss is not finite (the last good
    checkpoint stays) or when there is nothing to learn, CheckpointError when a checkpoint cannot be written.
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
    """The moving average of the model's weights; what the model does not learn is the same in both."""
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for copied, module in zip(averaged.module.modules(), model.modules(), strict=True):
        for name, buffer in module.named_buffers(recurse=False):
            setattr(copied, name, buffer)
    return averaged


def copy_weights(averaged: AveragedModel) -> dict[str, Any]:
    """The averaged weights as they are now."""
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
    """One pass over all windows; the mean loss of its targets.

    batches: this process's share, as many as those of each other process. A step follows the gradient of the mean loss
    over the targets of all processes.
    """
    model.train()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for number, windows in enumerate(batches):
        loss, weights = weighted_loss(model, windows, documents, settings)
        weight = weights.sum()
        [weight_of_all] = sum_over_processes([weight.item()], device)
        if not weight_of_all:
            continue
        optimizer.zero_grad(set_to_none=True)
        if len(weights):
            loss = loss / weight
            require_finite("loss", loss, epoch, number, windows)
            loss.backward()
            total += loss.item() * len(weights)
            count += len(weights)
        average_gradients(model.parameters(), weight.item() / weight_of_all)
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
    """Raises TrainingError naming the batch when the value is infinite or not a number."""
    if not torch.isfinite(value):
        items = sorted(set(windows.targets[windows.targets >= 0].tolist()))[:5]
        raise TrainingError(
            f"the {name} became {value.item()} in epoch {epoch}, batch {number} (items {items}…): lower "
            "DUOTEMPO_FUSION__LEARNING_RATE and run again; the last good checkpoint is kept"
        )


@torch.inference_mode()
def validate(model: FusionModel, validation: Validation, history: int, dimension: int) -> float:
    """Mean gain of the held-out targets, each ranked over all items that the user has not seen.

    Each process ranks its share of them; all get the same mean.
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
