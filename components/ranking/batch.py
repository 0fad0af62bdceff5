"""Batch recommendations for all users."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from components.arrays.topk import EMPTY, top_k
from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.histories.sequences import Documents, Sequences
from components.histories.signals import PastTrend
from components.ranking.lists import ListBuilder, PrecomputedScores, Rules
from components.ranking.scorer import Scorer
from components.settings import RankingSettings

CHUNK = 256
NO_ROWS = np.zeros(0, dtype=np.int64)


def recommend_all(
    bundle: Bundle,
    sequences: Sequences,
    documents: Documents,
    available: Collection[str],
    excluded: Mapping[str, NDArray[np.int64]],
    settings: RankingSettings,
    *,
    now: datetime,
    k: int,
    show_progress: bool = False,
) -> pa.Table:
    """The k best items of every user with a history, filtered and re-ranked as in the service.

    Args:
        available: Ids of the items that may be shown.
        excluded: Item rows not to be shown again, by user.
        settings: Strategy and re-ranking: diversity, category cap, tail share.
        now: Time of the recommendations.
        k: Maximum length of each list.

    Returns:
        Table of user_id, rank (from 1), item_id, score.
    """
    liked = sequences.signals > 0
    trend = PastTrend(sequences.items[liked], sequences.times[liked], bundle.items.num_rows)
    scorer, builder = Scorer(bundle, trend), BatchLists(bundle, settings)
    ids = np.array(bundle.items[Columns.ITEM].to_pylist(), dtype=object)
    unavailable = np.flatnonzero(~np.isin(ids, list(available)))
    names = (Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE)
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    k = min(k, len(ids))
    for start in tqdm(range(0, len(sequences.users), CHUNK), desc="batch", disable=not show_progress):
        chunk = np.arange(start, min(start + CHUNK, len(sequences.users)))
        states = sequences.states(chunk, np.full(len(chunk), now.timestamp()), documents)
        scores, _ = scorer.totals(states, settings.strategy)
        hidden = [np.union1d(excluded.get(user, NO_ROWS), unavailable) for user in sequences.users[chunk]]
        lists = builder.build(scores, hidden, k)
        row, position = np.nonzero(lists >= 0)
        columns[Columns.USER].append(sequences.users[start + row])
        columns[Columns.RANK].append(position + 1)
        columns[Columns.ITEM].append(ids[lists[row, position]])
        columns[Columns.SCORE].append(scores[row, lists[row, position]])
    return pa.table({name: np.concatenate(parts) if parts else [] for name, parts in columns.items()})


class BatchLists:
    """Builds lists for many users at once, re-ranked if configured."""

    def __init__(self, bundle: Bundle, settings: RankingSettings) -> None:
        self._rules = Rules.of(settings)
        self._builder = ListBuilder.of_bundle(bundle) if self._rules.rerank else None

    def build(self, scores: NDArray[np.float32], excluded: list[NDArray[np.int64]], k: int) -> NDArray[np.int64]:
        """Lists of item rows (users, k), padded with -1.

        Args:
            scores: (users, items).
            excluded: Item rows left out, for each user.
            k: Length of the lists.
        """
        if self._builder is None:
            return top_k(scores, k, excluded)
        lists = np.full((len(scores), k), EMPTY, dtype=np.int64)
        for user, hidden in enumerate(excluded):
            mask = np.ones(scores.shape[1], dtype=bool)
            mask[hidden] = False
            rows, _ = self._builder.build(PrecomputedScores(scores[user]), mask, k, self._rules)
            lists[user, : len(rows)] = rows
        return lists
