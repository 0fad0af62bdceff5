"""The model: R = V · f(U_l, U_s)."""

import math

import torch
from torch import Tensor, nn

from components.fusion.fusions import make_fusion
from components.fusion.towers import DocumentTower, ItemTower, LongTower, ShortTower
from components.settings import FusionSettings


class FusionModel(nn.Module):
    """Item vectors, both tempos of the user, and their fusion.

    texts: (items, e') whitened text vectors; trained: bool (items,); documents: means (2, e) of LLM(D_l) and LLM(D_s)
    and the whitening (e, e') of the texts, or None where there are no documents.
    """

    def __init__(
        self,
        settings: FusionSettings,
        texts: Tensor,
        trained: Tensor,
        documents: tuple[Tensor, Tensor] | None,
        half_life_days: float,
    ) -> None:
        super().__init__()
        width = settings.width
        self.window = settings.window
        self.items = ItemTower(texts, trained, width)
        means, whitening = documents or ((), torch.empty(0))
        towers = [DocumentTower(mean, whitening, self.items.project) for mean in means]
        self.user = UserTower(settings, towers, half_life_days)


class UserTower(nn.Module):
    """The user's side of the model, the part that the service runs."""

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
        """LLM(D_l) and LLM(D_s) as the towers take them: documents (..., 2, e), present (..., 2), two (..., width)."""
        return tuple(tower(documents[..., i, :], present[..., i]) for i, tower in enumerate(self.documents))

    def forward(
        self, vectors: Tensor, ages: Tensor, signals: Tensor, gaps: Tensor, documents: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """The two parts of U after each of the last L events.

        vectors (B, H, width); ages in days before any one moment (B, H); signals (B, H), 0 = padding; gaps (B, L), L at
        most the window: days from each of the last L events to the moment that is asked about; documents: what `read`
        gives for the anchor in force, each (B, L or 1, width), or none. Returns two tensors (B, L, width).

        The short-term interest halves with every exp(fade) days that pass without an event.
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
