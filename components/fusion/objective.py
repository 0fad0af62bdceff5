"""What the training minimises: cross-entropy of the next item over the catalogue, or over sampled negatives."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    first = torch.zeros(len(users), dtype=torch.long, device=users.device)
    return weights @ F.cross_entropy(logits, first, reduction="none")
