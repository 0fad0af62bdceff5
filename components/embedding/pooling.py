"""From the hidden states of a text's tokens to one vector."""

import torch


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Unit vectors (b, d) in float32 from hidden states (b, t, d) and an attention mask (b, t) of 0 and 1.

    `mean` averages the tokens, `cls` takes the first and `last` the last one; padding is ignored on either side.
    A row whose mask is all zero becomes a zero row.
    """
    hidden, weights = hidden.float(), mask.float()
    if pooling == "mean":
        vectors = torch.einsum("btd,bt->bd", hidden, weights)  # the length cancels out when normalised
    else:
        first = mask.argmax(dim=1)
        at = first if pooling == "cls" else first + mask.sum(dim=1) - 1
        at = at.clamp(min=0)
        vectors = hidden[torch.arange(len(hidden), device=hidden.device), at]
    vectors = vectors * mask.any(dim=1, keepdim=True)
    return torch.nn.functional.normalize(vectors, dim=1)
