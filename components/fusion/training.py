"""The training loop: AdamW, early stopping on held-out targets, checkpoints that a killed run resumes from."""

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from components.errors import DuotempoError
from components.fusion.holdout import Validation
from components.fusion.model import FusionModel
from components.fusion.objective import sampled_softmax_loss, softmax_loss
from components.fusion.sequences import Documents, Sequences, Windows, WindowSampler
from components.ranking.states import collate
from components.settings import FusionSettings

log = logging.getLogger(__name__)


class TrainingError(DuotempoError):
    """Training cannot go on; the message names the batch or the input, and the mend."""


@dataclass
class Progress:
    """What a training run has reached; it is what a checkpoint holds beside the weights."""

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
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
    """Trains `model` in place and leaves it with the weights of its best epoch.

    checkpoint: file written after each epoch; when it is there and bears the same fingerprint, the run goes on from it.
    Without held-out targets all epochs are trained. Raises TrainingError when the loss is not finite (the last good
    checkpoint stays), when there is nothing to learn, or when a checkpoint cannot be written.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    sampler = WindowSampler(sequences, settings.window, history, settings.batch_size)
    progress, best = Progress(), model.state_dict()
    if checkpoint and (saved := load_checkpoint(checkpoint, fingerprint)):
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
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
        torch.manual_seed(settings.seed * 100_003 + epoch)
        rng = np.random.default_rng([settings.seed, epoch])
        progress.losses.append(train_epoch(model, optimizer, sampler.epoch(rng), documents, settings, epoch))
        progress.epoch = epoch
        if not validation.states:
            progress.best_epoch = epoch
            best = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch % settings.validate_every == 0 or epoch == settings.epochs:
            ndcg = validate(model, validation, history, documents.vectors.shape[2])
            progress.validations.append((epoch, ndcg))
            if ndcg > progress.best_ndcg:
                progress.best_ndcg, progress.best_epoch = ndcg, epoch
                best = {name: value.clone() for name, value in model.state_dict().items()}
        if checkpoint:
            save_checkpoint(checkpoint, fingerprint, model, optimizer, progress, best)
        bar.set_postfix(loss=f"{progress.losses[-1]:.3f}", ndcg=f"{progress.best_ndcg:.4f}")
        bar.update()
        if on_epoch:
            on_epoch(progress)
    bar.close()
    model.load_state_dict(best)
    return progress


def train_epoch(
    model: FusionModel,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    documents: Documents,
    settings: FusionSettings,
    epoch: int,
) -> float:
    """One pass over all windows; the mean loss of its targets."""
    model.train()
    total, count = 0.0, 0
    for number, windows in enumerate(batches):
        users, targets, items = forward(model, windows, documents, settings)
        if not len(targets):
            continue
        if len(items) < settings.full_softmax_below:
            loss = softmax_loss(users, items, targets)
        else:
            loss = sampled_softmax_loss(users, items, targets, settings.negatives)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()} in epoch {epoch}, batch {number} (items "
                f"{sorted(set(windows.targets[windows.targets >= 0].tolist()))[:5]}…): lower "
                "DUOTEMPO_FUSION__LEARNING_RATE and run again; the last good checkpoint is kept"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        total += loss.item() * len(targets)
        count += len(targets)
    if not count:
        raise TrainingError(
            "no user has two events with a positive signal: there is nothing to learn; ingest more events"
        )
    return total / count


def forward(
    model: FusionModel, windows: Windows, documents: Documents, settings: FusionSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """(users (T, d), targets (T,), items (n, d)) of the windows' learnable events."""
    device = next(model.parameters()).device
    items = model.items(settings.id_dropout)
    batch, window = windows.targets.shape
    dropped = torch.rand(batch, window) < settings.anchor_dropout
    anchors = np.where(dropped.numpy(), -1, windows.anchors)
    vectors, present = document_inputs(documents, anchors)
    long, short = model.user(
        items[torch.from_numpy(windows.items).to(device)],
        torch.from_numpy(windows.ages).to(device),
        torch.from_numpy(windows.signals).to(device),
        torch.from_numpy(windows.gaps).to(device),
        vectors.to(device),
        present.to(device),
    )
    targets = torch.from_numpy(windows.targets).to(device)
    learn = targets >= 0
    return (long + short)[learn], targets[learn], items


def document_inputs(documents: Documents, anchors: np.ndarray) -> tuple[Tensor, Tensor]:
    """Document vectors (..., 2, e) and their presence (..., 2) for anchor rows of any shape, -1 being none."""
    shape = (*anchors.shape, 2, documents.vectors.shape[2])
    vectors = np.zeros(shape, dtype=np.float32)
    vectors[anchors >= 0] = documents.vectors[anchors[anchors >= 0]]
    present = (np.abs(vectors).sum(axis=-1) > 0).astype(np.float32)
    return torch.from_numpy(vectors), torch.from_numpy(present)


@torch.inference_mode()
def validate(model: FusionModel, validation: Validation, history: int, dimension: int, batch_size: int = 256) -> float:
    """NDCG@10 of the held-out targets, each ranked over all items that the user has not seen."""
    model.eval()
    device = next(model.parameters()).device
    items = model.items()
    gains = []
    for start in range(0, len(validation.states), batch_size):
        states = validation.states[start : start + batch_size]
        batch = collate(states, window=model.window, history=history, dimension=dimension)
        length = model.window
        documents = torch.from_numpy(batch.documents)[:, None].expand(-1, length, -1, -1)
        present = torch.from_numpy(batch.present)[:, None].expand(-1, length, -1)
        long, short = model.user(
            items[torch.from_numpy(batch.items).to(device)],
            torch.from_numpy(batch.ages).to(device),
            torch.from_numpy(batch.signals).to(device),
            torch.from_numpy(batch.ages[:, -length:]).to(device),
            documents.to(device),
            present.to(device),
        )
        scores = (long + short)[:, -1] @ items.T
        targets = torch.from_numpy(validation.targets[start : start + batch_size]).to(device)
        wanted = scores.gather(1, targets[:, None])
        for row, state in enumerate(states):
            scores[row, torch.from_numpy(state.items).to(device)] = -torch.inf
        rank = 1 + (scores > wanted).sum(dim=1)
        gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
    return float(torch.cat(gains).mean())


def save_checkpoint(
    file: Path,
    fingerprint: str,
    model: FusionModel,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    """Writes a checkpoint beside `file` and renames it, so that a kill never leaves half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    state = {
        "fingerprint": fingerprint,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "best": best,
    }
    try:
        torch.save(state, partial)
        partial.replace(file)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(
            f"the checkpoint {file} cannot be written ({error}): free some space, then run again"
        ) from error


def load_checkpoint(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none, it is damaged, or it belongs to other data or settings."""
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(file, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged (%s): starting anew", file, error)
        return None
    if saved["fingerprint"] != fingerprint:
        log.info("%s belongs to another run: starting anew", file)
        return None
    return saved
