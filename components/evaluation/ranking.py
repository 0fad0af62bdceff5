"""Ranks the targets of a split with a bundle, through the scoring code of the service, and with the baselines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.arrays.topk import rank
from components.core.columns import Columns
from components.evaluation.baselines import Peer, Popularity, interaction_matrix
from components.evaluation.splits import SIGNAL, TIME, Rolling, Split, event_seconds
from components.histories.sequences import Documents
from components.histories.signals import PastTrend, signals
from components.histories.states import UserState
from components.ranking.batch import CHUNK, BatchLists
from components.ranking.scorer import Scorer
from components.settings import EventSettings, RankingSettings

AFTER_LAST_EVENT = 2e-6
"""Seconds after a user's last event at which a split that hides times asks for recommendations."""


def with_signals(events: pd.DataFrame, settings: EventSettings) -> pd.DataFrame:
    """Adds a column of signals, so that `rolling` takes only positive events as targets."""
    return events.assign(**{SIGNAL: signals(events, settings)})


def user_states(
    split: Split | Rolling, rows: dict[str, int], documents: Documents, settings: EventSettings
) -> list[UserState]:
    """The state of each target's user just before the target.

    In `rolling` the state is as of the target's time, as the service knows the current time. The other splits hide
    it: `temporal` uses the cut, `loo`, which has no common cut, the user's last event.

    Args:
        rows: Row of the bundle by item id.
    """
    events = split.events if isinstance(split, Rolling) else split.train
    items: NDArray[Any] = events[Columns.ITEM].map(rows).fillna(-1).to_numpy(np.int64)
    times = event_seconds(events)
    event_signals = signals(events, settings)
    histories = [history[items[history] >= 0] for history in split.histories()]
    if isinstance(split, Rolling):
        moments = split.targets[TIME].to_numpy(np.float64)
    else:
        moments = np.array(
            [times[history[-1]] + AFTER_LAST_EVENT if len(history) else split.cut for history in histories]
        )
        if split.kind == "temporal":
            moments = np.full(len(histories), split.cut)
    anchors = documents.latest_before(split.targets[Columns.USER].to_numpy(dtype=object), moments)
    return [
        UserState(
            items[history],
            times[history],
            event_signals[history],
            float(moment),
            documents.vectors[anchor] if anchor >= 0 else None,
        )
        for history, moment, anchor in zip(histories, moments, anchors, strict=True)
    ]


def past_trend(split: Split | Rolling, rows: dict[str, int], settings: EventSettings) -> PastTrend:
    """The trend at any time, from the events a model may use: in `rolling` all earlier ones, else the training side."""
    events = split.events if isinstance(split, Rolling) else split.train
    items: NDArray[Any] = events[Columns.ITEM].map(rows).fillna(-1).to_numpy(np.int64)
    counted = (items >= 0) & (signals(events, settings) > 0)
    return PastTrend(items[counted], event_seconds(events)[counted], len(rows))


def rank_bundle(scorer: Scorer, states: Sequence[UserState], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ranks all items for each state.

    States of similar history length share a batch.

    Returns:
        Lists (targets, k) of bundle rows without seen items, and the long share of each list (targets,).
    """
    shares: list[NDArray[np.float32]] = []
    order = np.argsort([len(state.items) for state in states], kind="stable")
    by_length = [states[position] for position in order]

    def score(part: slice) -> NDArray[np.float32]:
        total, share = scorer.totals(by_length[part])
        shares.append(share)
        return total

    lists = rank(score, [state.items for state in by_length], k)
    original_order = np.argsort(order)
    return lists[original_order], np.concatenate([np.empty(0, np.float32), *shares])[original_order]


def rank_served(scorer: Scorer, states: Sequence[UserState], settings: RankingSettings, k: int) -> NDArray[np.int64]:
    """Lists (targets, k) of bundle rows as served: re-ranked by the settings, without seen items."""
    parts = [states[start : start + CHUNK] for start in range(0, len(states), CHUNK)]
    builder = BatchLists(scorer.bundle, settings)
    lists = [builder.build(scorer.totals(part)[0], [np.unique(state.items) for state in part], k) for part in parts]
    return np.concatenate([np.empty((0, k), np.int64), *lists])


def translate_rows(lists: NDArray[np.int64], rows_from: dict[str, int], rows_to: dict[str, int]) -> NDArray[np.int64]:
    """Maps lists from one bundle's rows to another's; items missing there become -1."""
    table = np.full(len(rows_from) + 1, -1, dtype=np.int64)
    for item, row in rows_from.items():
        table[row] = rows_to.get(item, -1)
    return table[lists]


def target_rows(split: Split | Rolling, rows: dict[str, int]) -> NDArray[np.integer]:
    """Bundle rows of the targets' items (targets,), -1 for items not in the bundle."""
    return pd.Series(split.targets[Columns.ITEM]).map(rows).fillna(-1).to_numpy(np.int64)


def rank_popularity(model: Popularity, split: Split | Rolling, rows: dict[str, int], k: int) -> NDArray[np.int64]:
    """Fits a popularity baseline and returns lists (targets, k) without seen items; in `rolling` as of each target."""
    events = split.events if isinstance(split, Rolling) else split.train
    items: NDArray[Any] = events[Columns.ITEM].map(rows).to_numpy(np.int64)
    model.fit(events[Columns.USER].to_numpy(dtype=object), items, event_seconds(events), len(rows))
    moments = split.targets[TIME].to_numpy(np.float64)
    final = None if isinstance(split, Rolling) else model.final_scores()

    def score(part: slice) -> NDArray[np.float32]:
        return model.scores(moments[part]) if final is None else np.tile(final, (len(moments[part]), 1))

    return rank(score, [items[history] for history in split.histories()], k)


def rank_peer(peer: Peer, split: Split, rows: dict[str, int], k: int) -> NDArray[np.int64]:
    """Lists (targets, k) of a fitted peer, without seen items."""
    items = split.train[Columns.ITEM].map(rows).to_numpy(np.int64)
    seen = [items[history] for history in split.histories()]
    users = split.targets[Columns.USER].to_numpy(dtype=object)
    owners = np.repeat(np.arange(len(seen)), [len(history) for history in seen])
    histories = interaction_matrix(owners, np.concatenate([*seen, np.empty(0, np.int64)]), (len(seen), len(rows)))
    return rank(lambda part: peer.scores(histories[part], users[part]), seen, k)
