"""Packs a trained model into a bundle."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy import sparse

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.fusion.export import export_user_tower
from components.fusion.inputs import Catalogue
from components.fusion.model import FusionModel
from components.histories.sequences import Sequences
from components.histories.signals import RECENT_SECONDS
from components.ranking.collaborative import item_neighbours
from components.settings import Settings


@dataclass(frozen=True)
class Packing:
    """Bundle contents other than the model's weights.

    Attributes:
        trained: Whether an item has a training event (items,).
        text_mean: Mean of the text vectors (encoder dims,).
        whitening: Whitening matrix of the text vectors (encoder dims, components).
        dimension: Encoder dimensions of the documents.
    """

    catalogue: Catalogue
    settings: Settings
    cut: datetime
    trained: NDArray[np.bool_]
    text_mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    dimension: int

    def pack(self, model: FusionModel, sequences: Sequences, blending_weights: dict[str, float]) -> Bundle:
        """The bundle of a model, which is not modified.

        Args:
            sequences: Events counted in popularity and neighbours.
            blending_weights: Weights of the hybrid's parts, see `choose_blending_weights`.
        """
        device = next(model.parameters()).device
        model = model.cpu().eval()
        with torch.inference_mode():
            vectors = model.items().numpy()
            matrix = self.whitening @ model.items.project.weight.numpy().T * float(self.settings.fusion.text)
        tower = export_user_tower(model.user, self.settings.fusion.width, self.dimension)
        model.to(device)
        return Bundle(
            items=item_table(self.catalogue.items, sequences, self.trained, self.cut),
            vectors=vectors,
            texts=self.catalogue.texts,
            neighbours=neighbours(sequences, len(self.trained), self.settings),
            keywords=self.catalogue.keywords,
            terms=self.catalogue.terms,
            text_mean=self.text_mean,
            text_matrix=matrix.astype(np.float32),
            tower=tower,
            manifest={
                "cut": self.cut.isoformat(),
                "encoder": self.catalogue.encoder,
                "dimension": self.dimension,
                "history": self.settings.ranking.history,
                "half_life_days": self.settings.interests.half_life_days,
                "recency": self.settings.ranking.recency,
                "events": self.settings.events.model_dump(mode="json"),
                "interests": self.settings.interests.model_dump(mode="json"),
                "mixture": blending_weights,
            },
        )


def item_table(items: pd.DataFrame, sequences: Sequences, trained: NDArray[np.bool_], cut: datetime) -> pa.Table:
    """The bundle's item table: the catalogue with positive events per item, all-time and in the 7 days before `cut`."""
    liked = sequences.signals > 0
    recent = liked & (sequences.times >= cut.timestamp() - RECENT_SECONDS)
    columns = [Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.AVAILABLE, Columns.PUBLISHED_AT]
    table = items[columns].assign(
        popularity=np.bincount(sequences.items[liked], minlength=len(items)),
        recent=np.bincount(sequences.items[recent], minlength=len(items)),
        trained=trained,
    )
    return pa.Table.from_pandas(table, preserve_index=False)


def neighbours(sequences: Sequences, items: int, settings: Settings) -> sparse.csr_matrix:
    """Item-item weights (items, items) from the positive events."""
    liked = sequences.signals > 0
    offsets = np.concatenate([[0], np.cumsum(liked)])[sequences.offsets]
    return item_neighbours(offsets, sequences.items[liked], items, settings.ranking)
