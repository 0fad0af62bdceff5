"""The fusion model, R = V · f(U_l, U_s)."""

import math

import torch
from torch import Tensor, nn

from components.fusion.fusions import make_fusion
from components.fusion.towers import DocumentTower, ItemTower, LongTower, ShortTower
from components.settings import FusionSettings


class FusionModel(nn.Module):
    """Item tower, and user tower with both tempos and their fusion."""

    def __init__(
        self,
        settings: FusionSettings,
        texts: Tensor,
        trained: Tensor,
        documents: tuple[Tensor, Tensor] | None,
        half_life_days: float,
    ) -> None:
        """
        Args:
            texts: Whitened text vectors (items, components).
            trained: Whether an item has a training event, bool (items,).
            documents: Means (2, encoder dims) of LLM(D_l) and LLM(D_s), and the whitening (encoder dims, components)
                of the texts; None without documents.
            half_life_days: Of the decay in the long-term interest.
        """
        super().__init__()
        width = settings.width
        self.window = settings.window
        self.items = ItemTower(texts, trained, width)
        means, whitening = documents or ((), torch.empty(0))
        towers = [DocumentTower(mean, whitening, self.items.project) for mean in means]
        self.user = UserTower(settings, towers, half_life_days)


class UserTower(nn.Module):
    """The user side of the model, which the service runs."""

    def __init__(self, settings: FusionSettings, documents: list[DocumentTower], half_life_days: float) -> None:
        super().__init__()
        width = settings.width
        self.window = settings.window
        self.long = LongTower(width, half_life_days, settings.dropout)
        self.short = ShortTower(width, settings.blocks, settings.heads, settings.dropout)
        self.documents = nn.ModuleList(documents)
        self.fusion = make_fusion(settings.kind, width)
        self.fade = nn.Parameter(torch.tensor(7.0).log())

    def read(self, documents: Tensor, present: Tensor) -> tuple[Tensor, ...]:
        """Projects documents (..., 2, encoder dims) with present (..., 2) to two tensors (..., width)."""
        return tuple(tower(documents[..., i, :], present[..., i]) for i, tower in enumerate(self.documents))

    def forward(
        self, vectors: Tensor, ages: Tensor, signals: Tensor, gaps: Tensor, documents: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """The two parts of U after each of the last `length` events.

        The short-term interest halves every exp(fade) days without an event.

        Args:
            vectors: Item vectors of the history (batch, history, width).
            ages: Days before any common reference time (batch, history).
            signals: Signed event weights (batch, history); 0 is padding.
            gaps: Days from each of the last events to the time of the prediction (batch, length); length is at most
                the window.
            documents: Output of `read` for the valid anchors, each (batch, length or 1, width), or empty.

        Returns:
            Long and short part, each (batch, length, width).
        """
        n_outputs = gaps.shape[1]
        long = self.long(vectors, ages, signals, n_outputs)
        valid = signals[:, -self.window :] > 0
        short = self.short(vectors[:, -self.window :], ages[:, -self.window :], valid, n_outputs)
        if documents:
            long, short = long + documents[0], short + documents[1]
        short = short * torch.exp(-math.log(2) * gaps / self.fade.exp())[..., None]
        event_counts = torch.cumsum((signals != 0).to(vectors.dtype), dim=1)[:, -n_outputs:]
        return self.fusion(long, short, torch.stack([torch.log1p(gaps), torch.log1p(event_counts)], dim=-1))
