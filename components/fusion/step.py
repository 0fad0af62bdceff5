"""One training step: augmentation of a batch and the cross-entropy of its next items, over the whole catalogue or over
sampled negatives."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from components.fusion.model import FusionModel
from components.histories.sequences import Documents, Windows
from components.settings import FusionSettings


def softmax_loss(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies over the whole catalogue.

    The scores are computed in chunks and never held in memory at once.

    Args:
        users: (targets, width).
        items: (items, width).
        targets: Item rows (targets,).
    """
    in_chunks = nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(users, items, targets, reduction="sum", options=in_chunks)


def sampled_softmax_loss(users: Tensor, items: Tensor, targets: Tensor, uniform: int, in_batch: int = 0) -> Tensor:
    """`softmax_loss` over each target and sampled negatives, which are shared by the batch.

    With in-batch negatives, each negative's logit is lowered by the log of its expected count in the sample (logQ
    correction, Yi et al. 2019), so that popular items are not over-penalised. A negative equal to a row's own target
    is masked in that row.

    Args:
        uniform: Number of negatives drawn uniformly from all items.
        in_batch: Number of negatives drawn from the batch's targets, which favours popular items.
    """
    sampled = torch.randint(len(items), (uniform,), device=users.device)
    negative_logits = users @ items[sampled].T
    if in_batch:
        in_batch_items = targets[torch.randint(len(targets), (in_batch,), device=users.device)]
        sampled = torch.cat([sampled, in_batch_items])
        share = torch.bincount(targets, minlength=len(items)) / len(targets)
        expected = uniform / len(items) + in_batch * share
        negative_logits = torch.cat([negative_logits, users @ items[in_batch_items].T], dim=1) - expected[sampled].log()
    positive = (users * items[targets]).sum(dim=1, keepdim=True)
    negative_logits = negative_logits.masked_fill(sampled[None, :] == targets[:, None], -torch.inf)
    logits = torch.cat([positive, negative_logits], dim=1)
    first = torch.zeros(len(users), dtype=torch.long, device=users.device)
    return F.cross_entropy(logits, first, reduction="sum")


def batch_loss(
    model: FusionModel, windows: Windows, documents: Documents, settings: FusionSettings
) -> tuple[Tensor, int]:
    """Sum of the losses of the batch's targets, and their number.

    On a GPU under bfloat16 autocast; the loss itself is computed in float32.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        users, targets, items = forward(model, windows, documents, settings)
    users = users.float()
    if not len(targets):
        return users.sum(), 0
    if len(items) < settings.full_softmax_below:
        loss = softmax_loss(users, items, targets)
    else:
        loss = sampled_softmax_loss(users, items, targets, settings.negatives, settings.in_batch_negatives)
    return loss, len(targets)


def forward(
    model: FusionModel, windows: Windows, documents: Documents, settings: FusionSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the model on augmented windows.

    Augmentation randomly drops history items, documents, id vectors and time gaps.

    Returns:
        users (targets, width), targets (targets,), items (items, width).
    """
    device = next(model.parameters()).device
    items = model.items(settings.id_dropout)
    signals = torch.from_numpy(windows.signals)
    signals = signals * (torch.rand(signals.shape) >= settings.item_dropout)
    gaps = torch.from_numpy(windows.gaps)
    gaps = gaps * (torch.rand(len(gaps), 1) >= settings.gap_dropout)
    dropped = torch.rand(windows.anchors.shape) < settings.anchor_dropout
    long, short = model.user(
        F.embedding(torch.from_numpy(windows.items).to(device), items),
        torch.from_numpy(windows.ages).to(device),
        signals.to(device),
        gaps.to(device),
        read_documents(model, documents, np.where(dropped.numpy(), -1, windows.anchors)),
    )
    targets = torch.from_numpy(windows.targets).to(device)
    has_target = targets >= 0
    return (long + short)[has_target], targets[has_target], items


def read_documents(model: FusionModel, documents: Documents, anchors: NDArray[np.int64]) -> tuple[Tensor, ...]:
    """Projected documents for anchors (batch, length), where -1 is none; each result is (batch, length, width).

    Each distinct document of the batch is projected once.
    """
    if not len(model.user.documents):
        return ()
    device = next(model.parameters()).device
    rows, inverse = np.unique(anchors, return_inverse=True)
    vectors = np.zeros((len(rows), *documents.vectors.shape[1:]), dtype=np.float32)
    vectors[rows >= 0] = documents.vectors[rows[rows >= 0]]
    present = (np.abs(vectors).sum(axis=-1) > 0).astype(np.float32)
    outputs = model.user.read(torch.from_numpy(vectors).to(device), torch.from_numpy(present).to(device))
    index = torch.from_numpy(inverse.reshape(anchors.shape)).to(device)
    return tuple(F.embedding(index, part) for part in outputs)
