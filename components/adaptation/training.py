"""Contrastive training of an encoder on pairs; the result is a folder for `DUOTEMPO_EMBEDDING__MODEL`."""

import json
import logging
import math
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from tqdm import tqdm
from transformers import get_linear_schedule_with_warmup

from components.adaptation.adaptable import AdaptableEncoder
from components.adaptation.errors import AdaptationError
from components.adaptation.pairs import Pairs, split_validation
from components.embedding.choose import choose
from components.embedding.encoder import ENGLISH, Encoder
from components.embedding.transformers_encoder import TransformersEncoder
from components.settings import AdaptationSettings, EmbeddingSettings

QUERY_BLOCK = 1024
"""Queries ranked per batch."""
TIE_TOLERANCE = 1e-5
"""Cosines closer than this count as equal: the vectors of a text vary by as much between batches."""
RECORD_FILE = "adaptation.json"
GRADIENT_NORM = 1.0
"""Norm to which gradients are clipped."""
logger = logging.getLogger(__name__)


def info_nce(
    queries: torch.Tensor, candidates: torch.Tensor, is_positive: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) with in-batch negatives (Karpukhin et al. 2020, arXiv
    2004.04906): the mean over i of -log(exp(q_i c_i / t) / sum_j exp(q_i c_j / t)).

    Args:
        queries: Unit vectors (batch, dims).
        candidates: Unit vectors (batch, dims); candidate i is the positive of query i.
        is_positive: Mask (batch, batch) of candidates that are excluded from a query's sum, as they are no negatives.
            The diagonal is always kept.
        temperature: t of the formula.
    """
    diagonal = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    scores = queries @ candidates.T / temperature
    scores = scores.masked_fill(is_positive & ~diagonal, -torch.inf)
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(queries), device=queries.device))


def mean_reciprocal_rank(encoder: Encoder, pairs: Pairs) -> float:
    """Mean reciprocal rank, 0 to 1, of each positive among all distinct positives that are negatives of its query.

    Ties count against the positive, so an encoder that maps all texts to one vector scores lowest.
    """
    rows, codes = np.unique(np.concatenate([pairs.queries, pairs.positives]), return_inverse=True)
    vectors = encoder.encode([pairs.texts[row] for row in rows])
    queries, positives = codes[: len(pairs)], codes[len(pairs) :]
    candidates = np.unique(positives)
    ranks = []
    for start in range(0, len(pairs), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        scores = vectors[queries[part]] @ vectors[candidates].T
        positive_scores = np.take_along_axis(scores, np.searchsorted(candidates, positives[part])[:, None], axis=1)
        negatives = ~pairs.is_positive(rows[queries[part]], rows[candidates])
        ranks.append(1 + np.sum((scores > positive_scores - TIE_TOLERANCE) & negatives, axis=1))
    return float(np.mean(1 / np.concatenate(ranks)))


@dataclass(frozen=True)
class Adaptation:
    """Record of an adaptation, stored as `adaptation.json` in the encoder's folder."""

    base: str
    base_revision: str
    method: str
    pairs: int
    """Training pairs."""
    held_out: int
    """Validation pairs."""
    mrr_base: float
    """Mean reciprocal rank of the base encoder on the validation pairs."""
    mrr: float
    """Mean reciprocal rank of the adapted encoder on the validation pairs."""
    epoch: int
    """Epoch whose weights were kept, counted from 1."""
    trained_parameters: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the record of a folder. Raises AdaptationError when it has none."""
        try:
            return cls(**json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise AdaptationError(f"{folder} holds no adapted encoder ({error}): run `duotempo adapt` again") from error


def adapt(
    pairs: Pairs,
    embedding: EmbeddingSettings,
    settings: AdaptationSettings,
    folder: Path,
    *,
    seed: int,
    show_progress: bool = True,
) -> Adaptation:
    """Trains the encoder of `embedding` on `pairs` and writes it to `folder` atomically.

    The validation pairs are ranked after each epoch; the weights of the best epoch are kept, and training stops
    `patience` epochs after it. Deterministic on the CPU for the same input and seed.

    Raises:
        AdaptationError: The encoder cannot be trained, the pairs are too few, or the loss is not finite.
        EncoderError: The model is not available.
    """
    _check_trainable(pairs, embedding)
    training_pairs, validation_pairs = split_validation(pairs, settings.held_out, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = AdaptableEncoder(embedding, settings.method, settings.rank)
        base_mrr = mean_reciprocal_rank(encoder, validation_pairs)
        best_mrr, best_epoch, state = -math.inf, 0, dict[str, torch.Tensor]()
        training = _Training(encoder, training_pairs, settings, seed)
        with tqdm(total=training.steps, desc=f"adapting {encoder.name}", disable=not show_progress) as bar:
            for epoch in range(1, settings.epochs + 1):
                training.epoch(epoch, bar)
                mrr = mean_reciprocal_rank(encoder, validation_pairs)
                logger.info("epoch %d: mean reciprocal rank %.4f on held-out pairs, base %.4f", epoch, mrr, base_mrr)
                if mrr > best_mrr:
                    best_mrr, best_epoch, state = mrr, epoch, encoder.copy_state()
                elif epoch - best_epoch >= settings.patience:
                    break
        encoder.restore(state)
    parameters = sum(weight.numel() for weight in state.values())
    adaptation = Adaptation(
        encoder.name,
        encoder.revision,
        settings.method,
        len(training_pairs),
        len(validation_pairs),
        base_mrr,
        best_mrr,
        best_epoch,
        parameters,
    )
    _write(encoder, adaptation, folder)
    return adaptation


class _Training:
    """Optimizer, schedule and batches of one training."""

    def __init__(self, encoder: AdaptableEncoder, pairs: Pairs, settings: AdaptationSettings, seed: int) -> None:
        self._encoder, self._pairs, self._settings = encoder, pairs, settings
        self._random = np.random.default_rng(seed)
        self._batches = math.ceil(len(pairs) / settings.batch_size)
        self.steps = self._batches * settings.epochs
        self._weights = list(encoder.trainable_parameters().values())
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = get_linear_schedule_with_warmup(
            self._optimizer, math.ceil(settings.warmup * self.steps), self.steps
        )

    def epoch(self, number: int, bar: tqdm) -> None:
        """Goes through all pairs once, in a new order."""
        shuffled = np.array_split(self._random.permutation(len(self._pairs)), self._batches)
        with self._encoder.training_mode():
            for batch, rows in enumerate(shuffled, start=1):
                loss = self._step(self._pairs.take(rows), f"batch {batch} of epoch {number}")
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()

    def _step(self, batch: Pairs, name: str) -> float:
        rows, codes = np.unique(np.concatenate([batch.queries, batch.positives]), return_inverse=True)
        is_positive = torch.from_numpy(self._pairs.is_positive(batch.queries, batch.positives))
        try:
            vectors = self._encoder.vectors([batch.texts[row] for row in rows])
            queries, candidates = vectors[codes[: len(batch)]], vectors[codes[len(batch) :]]
            loss = info_nce(queries, candidates, is_positive.to(vectors.device), self._settings.temperature)
            self._optimizer.zero_grad()
            loss.backward()
        except torch.OutOfMemoryError as error:
            raise AdaptationError(
                f"{self._encoder.device} has too little memory for {name}: lower DUOTEMPO_ADAPTATION__BATCH_SIZE or "
                "DUOTEMPO_EMBEDDING__MAX_LENGTH"
            ) from error
        norm = torch.nn.utils.clip_grad_norm_(self._weights, GRADIENT_NORM)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise AdaptationError(
                f"the loss is {loss.item()} and its gradient {norm.item()} in {name}, which begins with "
                f"{batch.texts[batch.queries[0]][:60]!r}: lower DUOTEMPO_ADAPTATION__LEARNING_RATE"
            )
        self._optimizer.step()
        self._schedule.step()
        return loss.item()


def _check_trainable(pairs: Pairs, embedding: EmbeddingSettings) -> None:
    """Raises AdaptationError unless the encoder chosen for these texts is a transformers model."""
    encoder = choose(pairs.texts, embedding).encoder
    if not isinstance(encoder, TransformersEncoder):
        raise AdaptationError(
            f"{encoder.name} is the encoder of these texts, and it has no weights to train: set "
            f"DUOTEMPO_EMBEDDING__MODEL to {ENGLISH} (English only), a hub id or a local folder"
        )


def _write(encoder: AdaptableEncoder, adaptation: Adaptation, folder: Path) -> None:
    partial = folder.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        encoder.write(partial)
        (partial / RECORD_FILE).write_text(
            json.dumps(asdict(adaptation), indent=1, ensure_ascii=False), encoding="utf-8"
        )
        partial.rename(folder)
    except OSError as error:
        raise AdaptationError(f"{folder} cannot be written ({error}): free space, or remove what is there") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
