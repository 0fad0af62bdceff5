"""Asks the running Bento over HTTP, with the key of `DUOTEMPO_API_KEY` where there is one."""

import os
from typing import Any

import httpx

from components.core.errors import DuotempoError

TIMEOUT_SECONDS = 30.0


class ServiceError(DuotempoError):
    """The service does not answer, or refused the request with the message it gave."""


def ask_service(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer of a POST. Raises ServiceError."""
    try:
        key = os.environ.get("DUOTEMPO_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise ServiceError(
            f"no service answers at {url} ({error}): see duotempo status; there is none before a champion"
        ) from error
    if answer.is_error:
        raise ServiceError(f"{path} answered {answer.status_code}: {_message(answer)}")
    return dict(answer.json())


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
