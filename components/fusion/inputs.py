"""Training inputs: the catalogue, whitening of its texts, and the users' document vectors."""

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
"""Maximum principal components of the whitened texts."""
VectorsOf = Callable[[Sequence[str]], NDArray[np.float32]]
"""Maps n texts to unit vectors (n, encoder dims); an empty text has a zero row."""


@dataclass(frozen=True)
class Catalogue:
    """All items with their text vectors and keywords, row by row.

    Attributes:
        items: Items frame.
        texts: Unit text vectors (items, encoder dims); a zero row has no text.
        keywords: Sparse keyword weights (items, terms).
        terms: Names of the keyword columns.
        encoder: Name of the text encoder.
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
    """PCA whitening of the item texts, as sentence vectors are far from isotropic.

    See WhitenRec (Zhang et al. 2024, arXiv 2402.10602).

    Args:
        texts: Text vectors (items, encoder dims); zero rows are ignored.

    Returns:
        Mean (encoder dims,) and matrix (encoder dims, components) that give components of equal deviation. With fewer
        than two texts the matrix is zero.
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
    """Document vectors LLM(D_l) and LLM(D_s) of every row of an interests frame."""
    vectors = [vectors_of(interests[name].tolist()) for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT)]
    return Documents(
        users=interests[Columns.USER].to_numpy(dtype=object),
        as_of=epoch_seconds(interests[Columns.AS_OF]),
        vectors=np.stack(vectors, axis=1),
    )
