"""The three towers: items, the long-term interest, the short-term interest."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DISTANCE_BUCKETS = 32
GAP_BUCKETS = 24
MAX_HALF_LIVES = 100.0
"""Events older than this weigh the same: more would leave the range of float32."""


class Dropout(nn.Dropout):
    """Dropout that on a CPU draws a byte an element, many times faster than torch; p to the nearest 1/256 there."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = round(self.p * 256)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: input.numel()].view(input.shape) >= dropped
        return input * (kept * (256 / max(256 - dropped, 1)))


class ItemTower(nn.Module):
    """Item vector = projection of the whitened text vector + a learned id vector.

    An item without a training event has no id vector and is carried by its text alone.
    texts: (items, e'); trained: bool (items,).
    """

    texts: Tensor
    trained: Tensor

    def __init__(self, texts: Tensor, trained: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("texts", texts, persistent=False)
        self.register_buffer("trained", trained.to(texts.dtype)[:, None], persistent=False)
        self.project = nn.Linear(texts.shape[1], width, bias=False)
        self.ids = nn.Parameter(torch.randn(len(texts), width) * 0.05)

    def forward(self, id_dropout: float = 0.0) -> Tensor:
        """All item vectors, (items, width); a share `id_dropout` of them without their id vector."""
        keep = self.trained
        if id_dropout > 0:
            keep = keep * (torch.rand_like(keep) >= id_dropout)
        return self.project(self.texts) + keep * self.ids


class DocumentTower(nn.Module):
    """A document vector of the LLM, read as an item's text is: whitened alike and projected by the same map.

    What is learned of its own is how much each dimension counts. A free map would learn by heart whose document it is.
    mean: (e,) of the documents; whitening: (e, e'); project: the items' map from e' to width.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor, project: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("whitening", whitening, persistent=False)
        self.project = project
        self.scale = nn.Parameter(torch.full((project.out_features,), 0.1))

    def forward(self, document: Tensor, present: Tensor) -> Tensor:
        """document (..., e), present (...,) of 0 and 1 to (..., width); absent documents give zero."""
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

        vectors (B, H, width), ages in days and signals (B, H), 0 = padding, to (B, window, width). The decay is taken
        relative to the newest event: a mean does not change when all its weights are scaled alike.
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
    """U_s: a causal transformer over the last events, with biases by distance and by time gap.

    Pre-norm blocks; the biases are those of HSTU (Zhai et al. 2024, Actions speak louder than words).
    """

    def __init__(self, width: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.scale = width**0.5
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, ages: Tensor, valid: Tensor, n_outputs: int) -> Tensor:
        """The interest after each of the last `asked` events; zero before a first one.

        vectors (B, L, width), ages in days (B, L), valid bool (B, L) to (B, asked, width).
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
        """What becomes of the last `asked` positions: hidden (B, L, width) to (B, asked, width).

        distance (asked, L), gaps (B, asked, L), visible bool (B, asked, L): of each of them to each position.
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
    """Rows of a small table (n, heads) for index (B, K, L), as (B, heads, K, L).

    An embedding; where there is a gradient as a gather, which has it many times faster on a CPU.
    """
    if not torch.is_grad_enabled():
        return F.embedding(index, table).permute(0, 3, 1, 2)
    batch, n_outputs, length = index.shape
    heads = table.shape[1]
    rows = table.T[None].expand(batch, heads, table.shape[0])
    flat_index = index.reshape(batch, 1, n_outputs * length).expand(batch, heads, n_outputs * length)
    return rows.gather(2, flat_index).reshape(batch, heads, n_outputs, length)


def gap_bucket(days: Tensor) -> Tensor:
    """A time gap in days as one of GAPS logarithmic buckets, from a second to years."""
    seconds = days.clamp(min=0) * 86_400
    return torch.log2(1 + seconds).clamp(max=GAP_BUCKETS - 1).long()
