"""Of whom and of what lists are made: how much of the catalogue they show, and the parts of users and items that a mean
hides."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from components.arrays.topk import EMPTY
from components.evaluation.results import ModelResult
from components.ranking.rerank import in_tail
from components.settings import EvaluationSettings

HEAD, TAIL, COLD = "head items", "tail items", "cold items"
MAX_CATEGORIES = 8
"""Categories that are told of, those with most items."""


def user_slices(history_sizes: NDArray[np.number], settings: EvaluationSettings) -> dict[str, NDArray[np.bool_]]:
    """Cold users, heavy users and all others. history_sizes: events of the user before the target (T,)."""
    cold, heavy = history_sizes < settings.cold_user_events, history_sizes >= settings.heavy_user_events
    return {"cold users": cold, "other users": ~cold & ~heavy, "heavy users": heavy & ~cold}


def item_slices(targets: NDArray[np.integer], groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """targets: item rows (T,), -1 where the catalogue lacks the item, which is cold then; groups: masks (n,) by name,
    see `item_groups`."""
    in_catalogue = targets >= 0
    return {name: np.where(in_catalogue, mask[targets], name == COLD) for name, mask in groups.items()}


def item_groups(popularity: NDArray[np.number], categories: Sequence[Sequence[str]]) -> dict[str, NDArray[np.bool_]]:
    """Masks (n,) by name: head, tail and cold items by their training events (n,), and the largest categories."""
    cold, tail = popularity == 0, in_tail(popularity)
    groups = {HEAD: ~tail & ~cold, TAIL: tail & ~cold, COLD: cold}
    owners = [(row, name) for row, names in enumerate(categories) for name in dict.fromkeys(names)]
    names, codes, sizes = np.unique([name for _, name in owners], return_inverse=True, return_counts=True)
    rows = np.array([row for row, _ in owners], dtype=np.int64)
    belongs = sparse.csc_matrix((np.ones(len(rows), bool), (rows, codes)), shape=(len(popularity), len(names)))
    for column in np.argsort(-sizes, kind="stable")[:MAX_CATEGORIES]:
        groups[f"category {names[column]}"] = belongs[:, [column]].toarray().ravel()
    return groups


def exposure(
    results: Sequence[ModelResult], popularity: NDArray[np.number], groups: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """{group: {"items": share, "events": share, "models": {model: share}}}, without the groups that are empty.

    A place is worth 1 / log2(rank + 1), the exposure of Singh and Joachims 2018 (Fairness of Exposure in Rankings). A
    group that gets less of it than its share of the events, the merit here, is shown less than people want it.
    """
    item_exposure = {result.name: _item_exposure(result.lists, len(popularity)) for result in results}
    return {
        name: {
            "items": float(mask.mean()),
            "events": _share(popularity, mask),
            "models": {model: _share(values, mask) for model, values in item_exposure.items()},
        }
        for name, mask in groups.items()
        if mask.any()
    }


def exposure_by_users(
    results: Sequence[ModelResult], users: Mapping[str, NDArray[np.bool_]], groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, dict[str, float]]]:
    """{slice of users: {group: {model: share}}} of what each slice is shown, by head, tail and cold items; without the
    slices that are empty. users: masks (T,) by name."""
    items = len(groups[HEAD])
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for name, mask in users.items():
        if mask.any():
            item_exposure = {result.name: _item_exposure(result.lists[mask], items) for result in results}
            shares[name] = {
                group: {model: _share(values, groups[group]) for model, values in item_exposure.items()}
                for group in (HEAD, TAIL, COLD)
            }
    return shares


def _item_exposure(lists: NDArray[np.int64], items: int) -> NDArray[np.number]:
    worth = np.broadcast_to(1 / np.log2(np.arange(lists.shape[1]) + 2), lists.shape)
    shown = lists != EMPTY
    return np.bincount(lists[shown], weights=worth[shown], minlength=items)


def _share(values: NDArray[np.number], mask: NDArray[np.bool_]) -> float:
    total = float(values.sum())
    return float(values[mask].sum()) / total if total else 0.0
