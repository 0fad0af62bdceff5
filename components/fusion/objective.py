"""What the training minimises: cross-entropy of the next item over the catalogue, or over sampled negatives."""

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_loss(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the whole catalogue. users (T, d), items (n, d), targets (T,) rows."""
    return F.cross_entropy(users @ items.T, targets)


def sampled_softmax_loss(users: Tensor, items: Tensor, targets: Tensor, negatives: int) -> Tensor:
    """Cross-entropy over each target and `negatives` uniform items that the whole batch shares.

    A negative that is a row's own target is masked there.
    """
    sampled = torch.randint(len(items), (negatives,), device=users.device)
    positive = (users * items[targets]).sum(dim=1, keepdim=True)
    others = (users @ items[sampled].T).masked_fill(sampled[None, :] == targets[:, None], -torch.inf)
    logits = torch.cat([positive, others], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(users), dtype=torch.long, device=users.device))
