"""A small shop, and what Prefect knows of its runs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pandas as pd
from sqlalchemy import Engine

from components.datasets.sources import Dataset
from components.settings import Settings
from components.store.ingest import ingest
from infra.local.platform import Platform

USERS, ITEMS, VISITS = 20, 15, 12


MANY = 100
"""New events from which on a retraining starts early."""


QUICK = {
    "FUSION__EPOCHS": 2, "FUSION__WIDTH": 16, "EVALUATION__BOOTSTRAP": 50, "INTERESTS__ANCHORS": 1,
    "MONITORING__RETRAIN_EVENTS": MANY, "MONITORING__RETRAIN_PAUSE_HOURS": 0.001,
}  # fmt: skip


NOW = datetime.now(UTC)


@dataclass(frozen=True)
class World:
    """The platform, its store, and what Prefect's server knows."""

    platform: Platform
    settings: Settings
    engine: Engine

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{self.platform.addresses.prefect_api_url}{path}", json=body, timeout=60)
        return answer.raise_for_status().json()

    def run(self, run_id: str) -> dict[str, Any]:
        (found,) = self.prefect("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return dict(found)

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Newest first, without those that are only scheduled."""
        wanted = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        return list(self.prefect("/flow_runs/filter", wanted))

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The task runs of a flow run by the names of their tasks."""
        found = self.prefect("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200})
        return {task["name"]: task for task in found}

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.prefect("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
        return {artifact["key"]: artifact for artifact in found}


def fill(world: World, *, until: datetime = NOW, step: timedelta = timedelta(hours=1), after: int = 0) -> int:
    """Everybody's visits, the last one `step` before `until`: how many. Each is of the item after the one before, from
    the item that comes `after` so many on."""
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
    return ingest(world.engine, shop, world.settings, source="shop", now=datetime.now(UTC)).accepted
