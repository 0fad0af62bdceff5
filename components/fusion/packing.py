"""From a trained model to the bundle that is served."""

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
    """What a bundle holds beside the model's weights.

    trained: bool (items,), which have a training event; text_mean (e,) and whitening (e, e') of the item texts;
    dimension: of the document vectors.
    """

    catalogue: Catalogue
    settings: Settings
    cut: datetime
    trained: NDArray[np.bool_]
    text_mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    dimension: int

    def pack(self, model: FusionModel, sequences: Sequences, blending_weights: dict[str, float]) -> Bundle:
        """The bundle of a model; popularity and neighbours count the events of `known`. The model stays as it is."""
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
    """The bundle's item table: the catalogue with counts of positive events, of all time and of the last 7 days."""
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
    """Item-item weights of the positive events."""
    liked = sequences.signals > 0
    offsets = np.concatenate([[0], np.cumsum(liked)])[sequences.offsets]
    return item_neighbours(offsets, sequences.items[liked], items, settings.ranking)
