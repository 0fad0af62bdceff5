"""HTTP client of the running service; uses the key in `DUOTEMPO_API_KEY`, if set."""

import os
from typing import Any

import httpx

from components.core.errors import DuotempoError

TIMEOUT_SECONDS = 30.0


class ServiceError(DuotempoError):
    """The service does not answer, or rejected the request; the message is its own."""


def ask_service(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Posts `body` to the service and returns the JSON response. Raises ServiceError."""
    try:
        key = os.environ.get("DUOTEMPO_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise ServiceError(
            f"no service answers at {url} ({error}): see duotempo status; it starts with the first champion"
        ) from error
    if answer.is_error:
        raise ServiceError(f"{path} answered {answer.status_code}: {_message(answer)}")
    return dict(answer.json())


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
