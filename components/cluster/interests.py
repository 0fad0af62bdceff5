"""Interests on a Ray cluster: one task per group of users."""

import numpy as np
import pandas as pd

from components.cluster.cluster import connected, device_count
from components.core.columns import Columns
from components.interests.build import build_interests
from components.interests.profile import Keywords
from components.settings import EventSettings, InterestSettings

GROUPS_PER_CPU = 4
"""Groups of users per CPU; several, so that load balances between nodes."""


def build_interests_on_cluster(
    events: pd.DataFrame,
    items: pd.DataFrame,
    anchors: pd.DataFrame,
    keywords: Keywords,
    settings: InterestSettings,
    event_settings: EventSettings,
    address: str,
) -> pd.DataFrame:
    """`build_interests` on the Ray cluster at `address`: the same rows in the same order.

    All events and anchors of a user go to one task; tasks of a node that dies run on another.

    Raises:
        RayClusterError: The cluster cannot be used.
        ValueError: As `build_interests` raises it.
    """
    if anchors.empty:
        return build_interests(events, items, anchors, keywords, settings, event_settings)
    with connected(address):
        import ray
        from ray.exceptions import RayTaskError

        group_of = _groups(events, anchors, GROUPS_PER_CPU * device_count("CPU"))
        by_events = dict(list(events.groupby(events[Columns.USER].map(group_of))))
        by_anchors = dict(list(anchors.reset_index(drop=True).groupby(anchors[Columns.USER].map(group_of).to_numpy())))
        build = ray.remote(num_cpus=1)(build_interests)
        catalogue, words = ray.put(items), ray.put(keywords)  # shared by all tasks
        tasks = [
            build.remote(by_events.get(group, events.iloc[:0]), catalogue, part, words, settings, event_settings)
            for group, part in by_anchors.items()
        ]
        try:
            built = ray.get(tasks)
        except RayTaskError as error:
            raise error.cause from error
    parts = [part.set_index(of.index) for part, of in zip(built, by_anchors.values(), strict=True)]
    return pd.concat(parts).sort_index()


def _groups(events: pd.DataFrame, anchors: pd.DataFrame, group_count: int) -> pd.Series:
    """Group number by user: at most `group_count` groups of consecutive users with about as many events each."""
    users = pd.Index(anchors[Columns.USER].unique())
    sizes = events[Columns.USER].value_counts().reindex(users, fill_value=0).to_numpy() + 1
    before = np.cumsum(sizes) - sizes
    return pd.Series(before * group_count // sizes.sum(), index=users)
