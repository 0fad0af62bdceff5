"""The towers: items, documents, long-term interest, short-term interest."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DISTANCE_BUCKETS = 32
"""Distances between events with a bias of their own; larger ones share the last."""
GAP_BUCKETS = 24
"""Logarithmic buckets of time gaps."""
MAX_HALF_LIVES = 100.0
"""Maximum age in half-lives; older events weigh the same, as float32 would underflow."""


class Dropout(nn.Dropout):
    """Dropout that draws one byte per element on a CPU, much faster than torch; p is rounded to 1/256 there."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = round(self.p * 256)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: input.numel()].view(input.shape) >= dropped
        return input * (kept * (256 / max(256 - dropped, 1)))


class ItemTower(nn.Module):
    """Item vector = projection of the whitened text vector + a learned id vector.

    An item without a training event has no id vector; its vector is that of its text.
    """

    texts: Tensor
    trained: Tensor

    def __init__(self, texts: Tensor, trained: Tensor, width: int) -> None:
        """
        Args:
            texts: Whitened text vectors (items, components).
            trained: Whether an item has a training event, bool (items,).
            width: Dimensions of the item vectors.
        """
        super().__init__()
        self.register_buffer("texts", texts, persistent=False)
        self.register_buffer("trained", trained.to(texts.dtype)[:, None], persistent=False)
        self.project = nn.Linear(texts.shape[1], width, bias=False)
        self.ids = nn.Parameter(torch.randn(len(texts), width) * 0.05)

    def forward(self, id_dropout: float = 0.0) -> Tensor:
        """All item vectors (items, width), a random share `id_dropout` of them without the id vector."""
        keep = self.trained
        if id_dropout > 0:
            keep = keep * (torch.rand_like(keep) >= id_dropout)
        return self.project(self.texts) + keep * self.ids


class DocumentTower(nn.Module):
    """Projects a document vector like an item text: same whitening, same projection.

    Only a scale per dimension is learned. A projection of its own would memorise which user a document belongs to.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor, project: nn.Linear) -> None:
        """
        Args:
            mean: Mean of the document vectors (encoder dims,).
            whitening: (encoder dims, components).
            project: Projection of the item tower, components to width.
        """
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("whitening", whitening, persistent=False)
        self.project = project
        self.scale = nn.Parameter(torch.full((project.out_features,), 0.1))

    def forward(self, document: Tensor, present: Tensor) -> Tensor:
        """Documents (..., encoder dims), with present (...,) of 0 and 1, to (..., width); missing ones give zero."""
        return present[..., None] * self.scale * self.project((document - self.mean) @ self.whitening)


class LongTower(nn.Module):
    """U_l: the time-decayed mean of the whole history's item vectors, refined, plus LLM(D_l)."""

    def __init__(self, width: int, half_life_days: float, dropout: float) -> None:
        super().__init__()
        self.half_life_days = half_life_days
        self.refine = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, vectors: Tensor, ages: Tensor, signals: Tensor, window: int) -> Tensor:
        """The interest after each of the last `window` events.

        The decay is relative to the newest event; a weighted mean does not change when all weights are scaled.

        Args:
            vectors: (batch, history, width).
            ages: Days (batch, history).
            signals: Signed event weights (batch, history); 0 is padding.

        Returns:
            (batch, window, width).
        """
        newest = ages.masked_fill(signals == 0, 1e6).amin(dim=1, keepdim=True)
        half_lives = ((ages - newest) / self.half_life_days).clamp(0, MAX_HALF_LIVES)
        decay = torch.exp(-math.log(2) * half_lives)
        weights = (decay * signals)[..., None]
        before = weights[:, :-window].transpose(1, 2) @ vectors[:, :-window]
        total = before + torch.cumsum(weights[:, -window:] * vectors[:, -window:], dim=1)
        mass = torch.cumsum(weights.abs(), dim=1)[:, -window:]
        mean = total / torch.where(mass > 0, mass, 1.0)
        return mean + (mass > 0) * self.refine(mean)


class ShortTower(nn.Module):
    """U_s: a causal pre-norm transformer over the last events, with attention biases by distance and time gap.

    The biases are those of HSTU (Zhai et al. 2024, Actions Speak Louder than Words).
    """

    def __init__(self, width: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.scale = width**0.5
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, ages: Tensor, valid: Tensor, n_outputs: int) -> Tensor:
        """The interest after each of the last `n_outputs` events; zero where there is no event yet.

        Args:
            vectors: (batch, length, width).
            ages: Days (batch, length).
            valid: False for padding, bool (batch, length).

        Returns:
            (batch, n_outputs, width).
        """
        length = vectors.shape[1]
        order = torch.arange(length, device=vectors.device)
        distance = (order[:, None] - order[None, :]).clamp(0, DISTANCE_BUCKETS - 1)
        gaps = gap_bucket(ages[:, None, :] - ages[:, :, None])
        causal = order[None, :] <= order[:, None]
        visible = causal[None] & valid[:, None, :]
        hidden = self.dropout(vectors * valid[..., None] * self.scale)
        *earlier, last = self.blocks
        for block in earlier:
            hidden = block(hidden, distance, gaps, visible, length)
        hidden = last(hidden, distance[-n_outputs:], gaps[:, -n_outputs:], visible[:, -n_outputs:], n_outputs)
        has_event = torch.cumsum(valid.to(vectors.dtype), dim=1)[:, -n_outputs:] > 0
        return self.norm(hidden) * has_event[..., None]


class Block(nn.Module):
    """One pre-norm transformer block with relative biases and a SwiGLU feed-forward part."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.by_distance = nn.Embedding(DISTANCE_BUCKETS, heads)
        self.by_gap = nn.Embedding(GAP_BUCKETS, heads)
        self.forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(2 * width, width)
        self.dropout = Dropout(dropout)
        for bias in (self.by_distance, self.by_gap):
            nn.init.zeros_(bias.weight)

    def forward(self, hidden: Tensor, distance: Tensor, gaps: Tensor, visible: Tensor, n_outputs: int) -> Tensor:
        """The block's output for the last `n_outputs` positions.

        Args:
            hidden: (batch, length, width).
            distance: Bucket of the distance between positions (n_outputs, length).
            gaps: Bucket of the time gap (batch, n_outputs, length).
            visible: Attention mask, bool (batch, n_outputs, length).

        Returns:
            (batch, n_outputs, width).
        """
        parts = self.query_key_value(self.attention_norm(hidden))
        parts = parts.reshape(*parts.shape[:2], 3 * self.heads, -1)
        query, key, value = parts.transpose(1, 2).split(self.heads, dim=1)
        bias = self.by_distance(distance).permute(2, 0, 1) + lookup_bias(self.by_gap.weight, gaps)
        bias = bias.masked_fill(~visible[:, None], -1e9)
        scale = (self.width // self.heads) ** -0.5
        attended = F.scaled_dot_product_attention(query[:, :, -n_outputs:], key, value, attn_mask=bias, scale=scale)
        attended = attended.transpose(1, 2)
        hidden = hidden[:, -n_outputs:] + self.dropout(self.out(attended.reshape(*attended.shape[:2], self.width)))
        gate, content = self.expand(self.forward_norm(hidden)).split(2 * self.width, dim=-1)
        return hidden + self.dropout(self.contract(F.silu(gate) * content))


def lookup_bias(table: Tensor, index: Tensor) -> Tensor:
    """Looks up a small table (buckets, heads) by index (batch, outputs, length), as (batch, heads, outputs, length).

    Uses `gather` where gradients are needed, whose backward pass is many times faster on a CPU than an embedding's.
    """
    if not torch.is_grad_enabled():
        return F.embedding(index, table).permute(0, 3, 1, 2)
    batch, n_outputs, length = index.shape
    heads = table.shape[1]
    rows = table.T[None].expand(batch, heads, table.shape[0])
    flat_index = index.reshape(batch, 1, n_outputs * length).expand(batch, heads, n_outputs * length)
    return rows.gather(2, flat_index).reshape(batch, heads, n_outputs, length)


def gap_bucket(days: Tensor) -> Tensor:
    """Logarithmic bucket, of GAP_BUCKETS, of a time gap in days, from one second to years."""
    seconds = days.clamp(min=0) * 86_400
    return torch.log2(1 + seconds).clamp(max=GAP_BUCKETS - 1).long()
