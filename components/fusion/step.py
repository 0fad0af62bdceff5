"""One step of the training: a batch of windows, augmented, to the loss of its targets: cross-entropy of the next item
over the catalogue, or over sampled negatives."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from components.fusion.model import FusionModel
from components.histories.sequences import Documents, Windows
from components.settings import FusionSettings


def softmax_loss(users: Tensor, items: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum of the weighted cross-entropies over the whole catalogue.

    users (T, d), items (n, d), targets (T,) rows, weights (T,). Equal weights never hold all scores at once.
    """
    if (weights == 1).all():
        in_chunks = nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(users, items, targets, reduction="sum", options=in_chunks)
    return weights @ F.linear_cross_entropy(users, items, targets, reduction="none")


def sampled_softmax_loss(
    users: Tensor, items: Tensor, targets: Tensor, weights: Tensor, uniform: int, in_batch: int = 0
) -> Tensor:
    """As `softmax_loss`, over each target and negatives that the whole batch shares.

    `uniform` negatives are drawn from all items and `in_batch` from the targets of the batch, which are popular ones.
    Where both are drawn, each negative's logit is lowered by the logarithm of how often it is expected in the sample
    (logQ correction, Yi et al. 2019), so that popular items are not punished. A negative that is a row's own target is
    masked there.
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
    return weights @ F.cross_entropy(logits, first, reduction="none")


def weighted_loss(
    model: FusionModel, windows: Windows, documents: Documents, settings: FusionSettings
) -> tuple[Tensor, Tensor]:
    """Sum of the weighted losses and the weights (T,) of the batch's learnable targets.

    On a GPU in bfloat16 where that is safe.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        users, targets, weights, items = forward(model, windows, documents, settings)
    users = users.float()
    if not len(targets):
        return users.sum(), weights
    if len(items) < settings.full_softmax_below:
        return softmax_loss(users, items, targets, weights), weights
    return (
        sampled_softmax_loss(users, items, targets, weights, settings.negatives, settings.in_batch_negatives),
        weights,
    )


def forward(
    model: FusionModel, windows: Windows, documents: Documents, settings: FusionSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(users (T, d), targets (T,), weights (T,), items (n, d)) of the windows' learnable events.

    Augmentation hides items of the history, documents, id vectors and the time that has passed since, at random.
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
    return (
        (long + short)[has_target],
        targets[has_target],
        torch.from_numpy(windows.weights).to(device)[has_target],
        items,
    )


def read_documents(model: FusionModel, documents: Documents, anchors: NDArray[np.int64]) -> tuple[Tensor, ...]:
    """What the user tower reads of the documents in force, each (B, L, width), for anchors (B, L), -1 being none.

    Each document of the batch goes through its tower once.
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
