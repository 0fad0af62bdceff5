"""Health checks of services over HTTP."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from infra.home.logins import authorization

TIMEOUT_SECONDS = 3.0


def http(url: str, headers: Mapping[str, str] | None = None) -> bool:
    """Whether the URL answers 200."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def platform_id(service_url: str) -> str | None:
    """Id of the platform whose service answers at the URL; None if no Duotempo service does."""
    return _answer(f"{service_url}/livez").get("platform")


def model_version(service_url: str) -> str | None:
    """Version that the service at the URL names as its champion; None if it does not answer."""
    return _answer(f"{service_url}/readyz").get("model_version")


def _answer(url: str) -> dict[str, Any]:
    """The JSON object that a service answers, with whatever status; empty if it does not."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            body = json.load(error)
        except (OSError, ValueError):
            return {}
    except (urllib.error.URLError, OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def worker_is_online(environment: Mapping[str, str], pool: str, name: str, since: float) -> bool:
    """Whether a worker on this machine has sent Prefect a heartbeat since it was started.

    Args:
        environment: The environment of Prefect's clients.
        since: Start of the worker, epoch seconds.
    """
    headers = {"Content-Type": "application/json", **authorization(environment)}
    url = f"{environment['PREFECT_API_URL']}/work_pools/{pool}/workers/filter"
    request = urllib.request.Request(url, b"{}", headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            listed: list[dict[str, Any]] = json.load(answer)
    except (urllib.error.URLError, OSError):
        return False
    prefix = f"{name}@{socket.gethostname()} "
    return any(
        worker_info["name"].startswith(prefix)
        and worker_info["status"] == "ONLINE"
        and _seconds(worker_info["last_heartbeat_time"]) >= since
        for worker_info in listed
    )


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
