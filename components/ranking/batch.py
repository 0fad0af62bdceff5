"""Recommendations for everybody at once."""

from datetime import datetime

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from components.bundle import Bundle
from components.columns import Columns
from components.evaluation.metrics import top_k
from components.fusion.sequences import Documents, Sequences
from components.ranking.scorer import Scorer
from components.settings import RankingSettings

CHUNK = 256


def recommend_all(
    bundle: Bundle,
    sequences: Sequences,
    documents: Documents,
    settings: RankingSettings,
    *,
    now: datetime,
    k: int,
    show_progress: bool = False,
) -> pa.Table:
    """The k best items of each user with a history: user_id, rank (from 1), item_id, score.

    Seen and unavailable items are left out, as in the service.
    """
    scorer = Scorer(bundle)
    ids = np.array(bundle.items[Columns.ITEM].to_pylist(), dtype=object)
    gone = np.flatnonzero(~bundle.items[Columns.AVAILABLE].to_numpy(zero_copy_only=False))
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in (Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE)
    }
    for start in tqdm(range(0, len(sequences.users), CHUNK), desc="batch", disable=not show_progress):
        chunk = range(start, min(start + CHUNK, len(sequences.users)))
        states = [sequences.state(user, now.timestamp(), documents) for user in chunk]
        scores = scorer.score(states, settings.strategy).total
        lists = top_k(scores, k, [np.union1d(state.items, gone) for state in states])
        row, place = np.nonzero(lists >= 0)
        columns[Columns.USER].append(sequences.users[start + row])
        columns[Columns.RANK].append(place + 1)
        columns[Columns.ITEM].append(ids[lists[row, place]])
        columns[Columns.SCORE].append(scores[row, lists[row, place]])
    return pa.table({name: np.concatenate(parts) if parts else [] for name, parts in columns.items()})
