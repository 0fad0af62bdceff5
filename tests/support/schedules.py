"""Toy data on the platform, with settings for a quick retraining."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
from sqlalchemy import Engine

from components.datasets.sources import Dataset
from infra.local.platform import Platform
from tests.support.loading import ingest
from tests.support.prefect import Prefect

USERS, ITEMS, VISITS = 20, 15, 12


EARLY_RETRAIN_EVENTS = 100
"""Number of new events that triggers an early retraining."""


QUICK = {
    "fusion": {"epochs": 2, "width": 16},
    "evaluation": {"bootstrap": 50},
    "interests": {"anchors": 1},
    "monitoring": {"retrain_events": EARLY_RETRAIN_EVENTS, "retrain_pause_hours": 0.001},
}
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class RunningPlatform:
    """The platform, a client of its Prefect, and its store."""

    platform: Platform
    prefect: Prefect
    engine: Engine


def fill(
    running: RunningPlatform, *, until: datetime = NOW, step: timedelta = timedelta(hours=1), after: int = 0
) -> int:
    """Ingests VISITS likes per user, `step` apart, the last one `step` before `until`.

    Consecutive visits are to consecutive items; `after` shifts the first item.

    Returns:
        The number of accepted events.
    """
    rows = [
        (
            f"u{user}",
            f"i{(user + after + visit) % ITEMS}",
            until - step * (VISITS - visit) - timedelta(milliseconds=user),
        )
        for user in range(USERS)
        for visit in range(VISITS)
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).assign(event="like")
    events["timestamp"] = [moment.isoformat() for moment in events["timestamp"]]
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "title": [f"picture {n}" for n in range(ITEMS)]})
    shop = Dataset("shop", events, items)
    return ingest(running.engine, shop, running.platform.settings, source="shop", now=datetime.now(UTC)).accepted
