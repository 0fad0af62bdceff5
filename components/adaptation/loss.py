"""What training lowers, and what stops it."""

import numpy as np
import torch

from components.adaptation.pairs import Pairs
from components.embedding.encoder import Encoder

BLOCK = 1024
"""Queries that are ranked at once."""
TIE = 1e-5
"""Cosines closer than this are equal: the vectors of a text differ by as much from batch to batch."""


def info_nce(
    queries: torch.Tensor, candidates: torch.Tensor, related: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) with in-batch negatives (Karpukhin et al. 2020, arXiv
    2004.04906): the mean over i of -log(exp(q_i c_i / t) / sum_j exp(q_i c_j / t)).

    queries, candidates: unit vectors (b, d), candidate i is the positive of query i. related: bool (b, b), candidates
    that are no negatives of a query and are left out of its sum; the diagonal never is.
    """
    diagonal = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    scores = queries @ candidates.T / temperature
    scores = scores.masked_fill(related & ~diagonal, -torch.inf)
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(queries), device=queries.device))


def reciprocal_rank(encoder: Encoder, pairs: Pairs) -> float:
    """Mean reciprocal rank of the positive among all positives of `pairs` that are not related to the query, 0 to 1.

    Ties count against it, so that an encoder which maps all texts to one vector gains nothing.
    """
    rows, codes = np.unique(np.concatenate([pairs.queries, pairs.positives]), return_inverse=True)
    vectors = encoder.encode([pairs.texts[row] for row in rows])
    queries, positives = codes[: len(pairs)], codes[len(pairs) :]
    candidates = np.unique(positives)
    ranks = []
    for start in range(0, len(pairs), BLOCK):
        part = slice(start, start + BLOCK)
        scores = vectors[queries[part]] @ vectors[candidates].T
        own = np.take_along_axis(scores, np.searchsorted(candidates, positives[part])[:, None], axis=1)
        rivals = ~pairs.related(rows[queries[part]], rows[candidates])
        ranks.append(1 + np.sum((scores > own - TIE) & rivals, axis=1))
    return float(np.mean(1 / np.concatenate(ranks)))
