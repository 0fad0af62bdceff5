"""The document vectors of an interests frame, as the model reads them."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from components.core.columns import Columns
from components.core.timestamps import epoch_seconds
from components.histories.sequences import Documents

VectorsOf = Callable[[Sequence[str]], np.ndarray]
"""From n texts to float32 (n, e) unit vectors, a zero row for an empty text."""


def make_documents(interests: pd.DataFrame, vectors_of: VectorsOf) -> Documents:
    """LLM(D_l) and LLM(D_s) of every anchor of an interests frame."""
    both = [vectors_of(interests[name].tolist()) for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT)]
    return Documents(
        users=interests[Columns.USER].to_numpy(dtype=object),
        as_of=epoch_seconds(interests[Columns.AS_OF]),
        vectors=np.stack(both, axis=1),
    )
