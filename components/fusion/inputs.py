"""All items and the document vectors of people, as the training reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from components.core.columns import Columns
from components.core.timestamps import epoch_seconds
from components.histories.sequences import Documents

TEXT_COMPONENTS = 128
VectorsOf = Callable[[Sequence[str]], NDArray[np.float32]]
"""From n texts to float32 (n, e) unit vectors, a zero row for an empty text."""


@dataclass(frozen=True)
class Catalogue:
    """All items, with what the encoder and the keyword extraction know of them, row by row.

    items: frame; texts: float32 (items, e) unit vectors, zero without text; keywords: csr (items, terms).
    """

    items: pd.DataFrame
    texts: NDArray[np.float32]
    keywords: sparse.csr_matrix
    terms: list[str]
    encoder: str

    @property
    def rows(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.items[Columns.ITEM])}


def whiten(texts: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """PCA whitening of the item texts: mean (e,) and matrix (e, e') that give components of equal deviation.

    WhitenRec (Zhang et al. 2024, arXiv 2402.10602) shows why: sentence vectors are far from isotropic.
    Items without text do not count; without two texts the matrix is zero.
    """
    from sklearn.decomposition import PCA

    with_text = texts[np.abs(texts).sum(axis=1) > 0]
    if len(with_text) < 2:
        return np.zeros(texts.shape[1], dtype=np.float32), np.zeros((texts.shape[1], 1), dtype=np.float32)
    components = min(TEXT_COMPONENTS, len(with_text) - 1, texts.shape[1])
    pca = PCA(components, svd_solver="covariance_eigh").fit(with_text.astype(np.float64))
    scale = np.sqrt(np.maximum(pca.explained_variance_, 1e-6) * components)
    return pca.mean_.astype(np.float32), (pca.components_.T / scale).astype(np.float32)


def make_documents(interests: pd.DataFrame, vectors_of: VectorsOf) -> Documents:
    """LLM(D_l) and LLM(D_s) of every anchor of an interests frame."""
    vectors = [vectors_of(interests[name].tolist()) for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT)]
    return Documents(
        users=interests[Columns.USER].to_numpy(dtype=object),
        as_of=epoch_seconds(interests[Columns.AS_OF]),
        vectors=np.stack(vectors, axis=1),
    )
