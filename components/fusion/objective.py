"""What the training minimises: cross-entropy of the next item over the catalogue, or over sampled negatives."""

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_loss(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the whole catalogue, of each target. users (T, d), items (n, d), targets (T,) rows to (T,)."""
    return F.cross_entropy(users @ items.T, targets, reduction="none")


def sampled_softmax_loss(users: Tensor, items: Tensor, targets: Tensor, uniform: int, in_batch: int = 0) -> Tensor:
    """Cross-entropy over each target and negatives that the whole batch shares, of each target: (T,).

    `uniform` negatives are drawn from all items and `in_batch` from the targets of the batch, which are popular ones.
    Where both are drawn, each negative's logit is lowered by the logarithm of how often it is expected in the sample
    (logQ correction, Yi et al. 2019), so that popular items are not punished. A negative that is a row's own target is
    masked there.
    """
    sampled = torch.randint(len(items), (uniform,), device=users.device)
    others = users @ items[sampled].T
    if in_batch:
        drawn = targets[torch.randint(len(targets), (in_batch,), device=users.device)]
        sampled = torch.cat([sampled, drawn])
        share = torch.bincount(targets, minlength=len(items)) / len(targets)
        expected = uniform / len(items) + in_batch * share
        others = torch.cat([others, users @ items[drawn].T], dim=1) - expected[sampled].log()
    positive = (users * items[targets]).sum(dim=1, keepdim=True)
    others = others.masked_fill(sampled[None, :] == targets[:, None], -torch.inf)
    logits = torch.cat([positive, others], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(users), dtype=torch.long, device=users.device), reduction="none")
