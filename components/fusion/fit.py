"""From histories, texts and document vectors to a bundle: the one way in which a model is made.

The flow makes the evaluation twin and the registered model with it, `duotempo evaluate` the model that it ranks.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy import sparse
from sklearn.decomposition import PCA

from components.bundle import Bundle
from components.columns import Columns
from components.fusion.export import export_user_tower
from components.fusion.holdout import NONE_HELD_OUT, HeldOut, hold_out
from components.fusion.mixture import choose_mixture
from components.fusion.model import FusionModel
from components.fusion.sequences import Documents, Sequences, build_sequences
from components.fusion.training import Progress, train
from components.ranking.collaborative import item_neighbours
from components.settings import FusionSettings, Settings

TEXT_COMPONENTS = 128
RECENT = timedelta(days=7)
FINISHING_RATE = 0.5


@dataclass(frozen=True)
class Catalogue:
    """All items, with what the encoder and the keyword extraction know of them, row by row.

    items: frame; texts: float32 (items, e) unit vectors, zero without text; keywords: csr (items, terms).
    """

    items: pd.DataFrame
    texts: np.ndarray
    keywords: sparse.csr_matrix
    terms: list[str]
    encoder: str

    @property
    def rows(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.items[Columns.ITEM])}


@dataclass(frozen=True)
class Fitted:
    """A trained bundle and how its training went."""

    bundle: Bundle
    progress: Progress


def fit(
    events: pd.DataFrame,
    catalogue: Catalogue,
    documents: Documents,
    settings: Settings,
    *,
    cut: datetime,
    held_out: HeldOut,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    show_progress: bool = False,
) -> Fitted:
    """Trains on all `events` (each before `cut`) and packs the model. Same input and seed: same bundle.

    documents is ignored when `settings.fusion.documents` is off. Raises TrainingError, see `train`.
    """
    documents = documents if settings.fusion.documents else Documents.none(documents.vectors.shape[2])
    sequences = build_sequences(events, catalogue.rows, settings.events, documents)
    learned, validation = hold_out(sequences, documents, held_out, settings.fusion.seed)
    trained = np.zeros(len(catalogue.items), dtype=bool)
    trained[sequences.items[sequences.signals > 0]] = True
    texts = catalogue.texts if settings.fusion.text else np.zeros_like(catalogue.texts)
    mean, whitening = whiten(texts)
    dimension = documents.vectors.shape[2]
    torch.manual_seed(settings.fusion.seed)
    model = FusionModel(
        settings.fusion,
        torch.from_numpy(project(texts, mean, whitening)),
        torch.from_numpy(trained),
        document_space(documents, whitening) if settings.fusion.documents else None,
        settings.interests.half_life_days,
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    progress = train(
        model,
        learned,
        documents,
        validation,
        settings.fusion,
        history=settings.ranking.history,
        checkpoint=checkpoint,
        fingerprint=fingerprint(sequences, catalogue, settings),
        on_epoch=on_epoch,
        show_progress=show_progress,
    )
    if validation.states and settings.fusion.finish_epochs:
        train(model, sequences, documents, NONE_HELD_OUT, finishing(settings.fusion), history=settings.ranking.history)
    model = model.cpu().eval()
    with torch.inference_mode():
        vectors = model.items().numpy()
        matrix = whitening @ model.items.project.weight.numpy().T
    bundle = Bundle(
        items=item_table(catalogue.items, learned, trained, cut),
        vectors=vectors,
        texts=catalogue.texts,
        neighbours=neighbours(learned, len(catalogue.items), settings),
        keywords=catalogue.keywords,
        terms=catalogue.terms,
        text_mean=mean,
        text_matrix=matrix.astype(np.float32),
        tower=export_user_tower(model.user, settings.fusion.width, dimension),
        manifest={
            "cut": cut.isoformat(),
            "encoder": catalogue.encoder,
            "dimension": dimension,
            "window": settings.fusion.window,
            "history": settings.ranking.history,
            "half_life_days": settings.interests.half_life_days,
            "recency": settings.ranking.recency,
            "events": settings.events.model_dump(mode="json"),
            "interests": settings.interests.model_dump(mode="json"),
            "mixture": {"collaborative": 0.0, "popularity": 0.0, "recent": 0.0},
        },
    )
    # the mixture is chosen with the held-out events out of every part; the bundle then counts them again
    mixture = choose_mixture(bundle, validation) if settings.ranking.mixture else bundle.manifest["mixture"]
    manifest = {**bundle.manifest, "mixture": mixture}
    whole = replace(
        bundle,
        items=item_table(catalogue.items, sequences, trained, cut),
        neighbours=neighbours(sequences, len(catalogue.items), settings),
        manifest=manifest,
    )
    return Fitted(whole, progress)


def finishing(settings: FusionSettings) -> FusionSettings:
    """Settings of the last epochs, in which the trained model also learns the held-out events."""
    return settings.model_copy(
        update={"epochs": settings.finish_epochs, "learning_rate": settings.learning_rate * FINISHING_RATE}
    )


def document_space(documents: Documents, whitening: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (2, e) of LLM(D_l) and LLM(D_s), absent ones left out, and the whitening (e, e') of the item texts."""
    present = np.abs(documents.vectors).sum(axis=2, keepdims=True) > 0
    means = documents.vectors.sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return torch.from_numpy(means.astype(np.float32)), torch.from_numpy(whitening)


def whiten(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PCA whitening of the item texts: mean (e,) and matrix (e, e') that give components of equal deviation.

    WhitenRec (Zhang et al. 2024, arXiv 2402.10602) shows why: sentence vectors are far from isotropic.
    Items without text do not count; without two texts the matrix is zero.
    """
    known = texts[np.abs(texts).sum(axis=1) > 0]
    if len(known) < 2:
        return np.zeros(texts.shape[1], dtype=np.float32), np.zeros((texts.shape[1], 1), dtype=np.float32)
    components = min(TEXT_COMPONENTS, len(known) - 1, texts.shape[1])
    pca = PCA(components, svd_solver="covariance_eigh").fit(known.astype(np.float64))
    scale = np.sqrt(np.maximum(pca.explained_variance_, 1e-6) * components)
    return pca.mean_.astype(np.float32), (pca.components_.T / scale).astype(np.float32)


def project(texts: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(texts - mean) @ matrix, zero where there is no text."""
    known = (np.abs(texts).sum(axis=1) > 0)[:, None]
    return (np.where(known, texts - mean, 0) @ matrix).astype(np.float32)


def item_table(items: pd.DataFrame, sequences: Sequences, trained: np.ndarray, cut: datetime) -> pa.Table:
    """The bundle's item table: the catalogue with counts of positive events, of all time and of the last 7 days."""
    liked = sequences.signals > 0
    recent = liked & (sequences.times >= (cut - RECENT).timestamp())
    columns = [Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.AVAILABLE, Columns.PUBLISHED_AT]
    table = items[columns].assign(
        popularity=np.bincount(sequences.items[liked], minlength=len(items)),
        recent=np.bincount(sequences.items[recent], minlength=len(items)),
        trained=trained,
    )
    return pa.Table.from_pandas(table, preserve_index=False)


def neighbours(sequences: Sequences, items: int, settings: Settings) -> sparse.csr_matrix:
    """Item-item weights of the positive events."""
    liked = sequences.signals > 0
    offsets = np.concatenate([[0], np.cumsum(liked)])[sequences.offsets]
    return item_neighbours(offsets, sequences.items[liked], items, settings.ranking)


def fingerprint(sequences: Sequences, catalogue: Catalogue, settings: Settings) -> str:
    """sha256 of all that shapes a training run: a checkpoint of another one is not resumed."""
    digest = hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True, default=str).encode())
    for array in (sequences.offsets, sequences.items, sequences.times, sequences.anchors, catalogue.texts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
