"""Slices of users and items, and exposure: the share of list positions that each group of items receives."""

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
"""Maximum number of categories reported, largest first."""


def user_slices(history_sizes: NDArray[np.number], settings: EvaluationSettings) -> dict[str, NDArray[np.bool_]]:
    """Masks of cold, heavy and other users.

    Args:
        history_sizes: Events of each target's user before the target (targets,).
    """
    cold, heavy = history_sizes < settings.cold_user_events, history_sizes >= settings.heavy_user_events
    return {"cold users": cold, "other users": ~cold & ~heavy, "heavy users": heavy & ~cold}


def item_slices(targets: NDArray[np.integer], groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Masks (targets,) of the targets by item group.

    Args:
        targets: Item rows (targets,); -1, an item outside the catalogue, counts as cold.
        groups: Masks (items,) by name, see `item_groups`.
    """
    in_catalogue = targets >= 0
    return {name: np.where(in_catalogue, mask[targets], name == COLD) for name, mask in groups.items()}


def item_groups(popularity: NDArray[np.number], categories: Sequence[Sequence[str]]) -> dict[str, NDArray[np.bool_]]:
    """Masks (items,) by name: head, tail and cold items, and the largest categories.

    Args:
        popularity: Training events per item (items,).
        categories: Category names of each item.
    """
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
    """Exposure of each item group by each model, next to its share of the items and of the training events.

    A position has the exposure 1 / log2(rank + 1), see Singh and Joachims 2018 (Fairness of Exposure in Rankings).
    Merit is the share of the events: a group with less exposure than that is shown less than users want it.

    Args:
        popularity: Training events per item (items,).
        groups: Masks (items,) by name.

    Returns:
        {group: {"items": share, "events": share, "models": {model: share}}}, without empty groups.
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
    """Exposure of head, tail and cold items within each slice of users.

    Args:
        users: Masks (targets,) by name.
        groups: Masks (items,) by name.

    Returns:
        {user slice: {group: {model: share}}}, without empty slices.
    """
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
