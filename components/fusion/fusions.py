"""The fusions U = f(U_l, U_s), with one interface. A custom fusion is a class set as `module:Class`.

Every fusion returns two parts whose sum is U, so that each score splits exactly into a long and a short share.
"""

import torch
from torch import Tensor, nn

from components.core.errors import DuotempoError
from components.settings.model import FUSION_KINDS

CONTEXT = 2
"""Dimensions of the context: log(1 + days since the last event), log(1 + number of events)."""


class Fusion(nn.Module):
    """Base class of the fusions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses the two interests.

        Args:
            long: U_l (..., width).
            short: U_s (..., width).
            context: (..., CONTEXT).

        Returns:
            The long and the short part of U, each (..., width).
        """
        raise NotImplementedError


class Weighted(Fusion):
    """U = a U_l + (1 - a) U_s, with one learned scalar a for all users."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.balance = nn.Parameter(torch.zeros(()))

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        share = torch.sigmoid(self.balance)
        return share * long, (1 - share) * short


class Concat(Fusion):
    """U = W [U_l; U_s], a linear map of the concatenation."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.long = nn.Linear(width, width, bias=False)
        self.short = nn.Linear(width, width, bias=False)
        for layer in (self.long, self.short):
            nn.init.eye_(layer.weight)

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.long(long), self.short(short)


class Attention(Fusion):
    """U = a_l U_l + a_s U_s, with (a_l, a_s) softmax attention; the query comes from U_l + U_s and the context."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.query = nn.Linear(width + CONTEXT, width)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        query = self.query(torch.cat([long + short, context], dim=-1))
        logits = torch.stack([(query * self.key(long)).sum(-1), (query * self.key(short)).sum(-1)], dim=-1)
        weights = torch.softmax(logits / self.width**0.5, dim=-1)
        return weights[..., :1] * long, weights[..., 1:] * short


class Gated(Fusion):
    """U = g * U_l + (1 - g) * U_s elementwise, g = sigmoid(W [U_l; U_s; context])."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.gate = nn.Linear(2 * width + CONTEXT, width)

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(self.gate(torch.cat([long, short, context], dim=-1)))
        return gate * long, (1 - gate) * short


class LongOnly(Fusion):
    """U = U_l: ablation without the short-term interest."""

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return long, torch.zeros_like(short)


class ShortOnly(Fusion):
    """U = U_s: ablation without the long-term interest."""

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(long), short


FUSIONS: dict[str, type[Fusion]] = dict(
    zip(FUSION_KINDS, (Weighted, Concat, Attention, Gated, LongOnly, ShortOnly), strict=True)
)


class UnknownFusion(DuotempoError):
    """The configured fusion does not exist, or is a custom one that cannot be used."""


def make_fusion(kind: str, width: int) -> Fusion:
    """Instantiates a fusion: a name in FUSIONS, or a custom one as `module:Class`. Raises UnknownFusion."""
    if ":" in kind:
        from components.fusion.custom import make_custom

        return make_custom(kind, width)
    if kind not in FUSIONS:
        raise UnknownFusion(
            f"no fusion named {kind!r}: DUOTEMPO_FUSION__KIND is one of {', '.join(FUSIONS)}, "
            "or module:Class for a custom fusion"
        )
    return FUSIONS[kind](width)
