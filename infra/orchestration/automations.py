"""What Prefect's server does by itself when a worker has died, told to it by `duotempo up`.

It declares silent runs dead; infra/watch/reruns.py runs them again.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from infra.home.logins import authorization

HEARTBEAT_SECONDS = 30
"""Between two signs of life of a flow run; Prefect takes no less."""
SILENCE_SECONDS = 120
"""After which a run counts as dead."""
RERUN = "rerun"
"""Tag of the deployments whose runs are run again, once, after a crash."""
GONE = ("duotempo: a crashed run is run again",)
"""Automations of earlier releases: infra/watch/reruns.py does it."""
ENDS = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]
WAITS = [f"prefect.flow-run.{state}" for state in ("AwaitingRetry", "Scheduled", "Paused", "Suspended")]
ANY_RUN = {"prefect.resource.id": "prefect.flow-run.*"}

AUTOMATIONS: list[dict[str, Any]] = [
    {
        "name": "duotempo: a silent run has crashed",
        "description": f"No sign of life for {SILENCE_SECONDS} s: its worker, or the worker's machine, is gone.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": ANY_RUN,
            "for_each": ["prefect.resource.id"],
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *ENDS, *WAITS],
            "threshold": 1,
            "within": SILENCE_SECONDS,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": f"No sign of life for {SILENCE_SECONDS} s: its worker is gone.",
            }
        ],
    },
]


def make_automations(environment: Mapping[str, str], seconds: float) -> None:
    """Makes them, or brings them up to date, on the server of its clients' `environment`, and removes what earlier
    releases made. Raises httpx.HTTPError."""
    url, headers = environment["PREFECT_API_URL"], authorization(environment)
    with httpx.Client(base_url=url, headers=headers, timeout=seconds) as client:
        wanted = {"automations": {"name": {"any_": [*GONE, *(one["name"] for one in AUTOMATIONS)]}}}
        listed = client.post("/automations/filter", json=wanted).raise_for_status().json()
        known = {one["name"]: one["id"] for one in listed}
        for name in known.keys() & GONE:
            client.delete(f"/automations/{known[name]}").raise_for_status()
        for one in AUTOMATIONS:
            if one["name"] in known:
                client.put(f"/automations/{known[one['name']]}", json=one).raise_for_status()
            else:
                client.post("/automations/", json=one).raise_for_status()
