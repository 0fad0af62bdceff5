"""Queries about flow runs to Prefect's server."""

from collections.abc import Mapping
from typing import Any

import httpx

from infra.home.logins import authorization


class Prefect:
    """A client of the server named in `environment`, with its login."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        headers = authorization(environment)
        self.client = httpx.Client(base_url=environment["PREFECT_API_URL"], headers=headers, timeout=60)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, run_id: str) -> dict[str, Any]:
        (found,) = self.ask("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return dict(found)

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """A flow's runs, newest first, without scheduled ones."""
        wanted = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        return list(self.ask("/flow_runs/filter", wanted))

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The task runs of a flow run, by task name."""
        found = self.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200})
        return {task["name"]: task for task in found}

    def states(self, run_id: str) -> list[str]:
        """The names of a run's states, in time order."""
        answer = self.client.get("/flow_run_states/", params={"flow_run_id": run_id})
        found = answer.raise_for_status().json()
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The artifacts of a run, by key."""
        found = self.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
        return {artifact["key"]: artifact for artifact in found}
