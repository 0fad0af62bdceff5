"""A custom fusion: what someone has liked for years, times what they want this minute."""

import torch
from torch import Tensor, nn

from components.fusion.fusions import Fusion

RANK = 16


class Multiplied(Fusion):
    """U = U_l + U_s + C (tanh(A U_l) * tanh(B U_s)), a low-rank bilinear term between both tempos.

    The product is Kim et al. 2017, Hadamard Product for Low-rank Bilinear Pooling. It is zero as soon as one of the
    interests is, so that each part gets half of it. C starts at zero: training begins with the plain sum.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.long = nn.Linear(width, RANK, bias=False)
        self.short = nn.Linear(width, RANK, bias=False)
        self.out = nn.Linear(RANK, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, long: Tensor, short: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        both = self.out(torch.tanh(self.long(long)) * torch.tanh(self.short(short)))
        return long + both / 2, short + both / 2
