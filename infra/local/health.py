"""Whether a service answers."""

import json
import socket
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

TIMEOUT_SECONDS = 3.0


def http(url: str) -> bool:
    """Whether the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def worker(prefect_api_url: str, pool: str, name: str, since: float) -> bool:
    """Whether this machine's worker `name` of the pool has reported since it was started (epoch seconds)."""
    request = urllib.request.Request(
        f"{prefect_api_url}/work_pools/{pool}/workers/filter", b"{}", {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            listed: list[dict[str, Any]] = json.load(answer)
    except (urllib.error.URLError, OSError):
        return False
    here = f"{name}@{socket.gethostname()} "
    return any(
        one["name"].startswith(here) and one["status"] == "ONLINE" and _seconds(one["last_heartbeat_time"]) >= since
        for one in listed
    )


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
