"""Asks a Bento on trial, which is loaded and does not accept at the address yet, and admits it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.local.errors import SmokeTestFailed
from serving.trial import ADMIT

Check = Callable[[httpx.Client], None]
"""Raises what speaks against the Bento that answers the client."""
ANSWER_SECONDS = 15.0
PAUSE_SECONDS = 0.1


@contextmanager
def asking(socket: Path) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://trial", timeout=ANSWER_SECONDS) as client:
        yield client


def await_loaded(client: httpx.Client, given_up: Callable[[], bool], seconds: float) -> None:
    """Returns once the Bento has read all that it holds. Raises SmokeTestFailed when it cannot, or ends before."""
    deadline, said = time.monotonic() + seconds, "no answer"
    while time.monotonic() < deadline:
        if given_up():
            raise SmokeTestFailed("it ended before it was loaded")
        try:
            state = client.get("/readyz").json()
        except httpx.TransportError as error:
            said = str(error)
        else:
            if state["ready"]:
                return
            said = "; ".join(state["missing"])
            if not state["loading"]:
                raise SmokeTestFailed(f"it is not ready: {said}")
        time.sleep(PAUSE_SECONDS)
    raise SmokeTestFailed(f"it was not ready within {seconds:.0f} s (/readyz: {said})")


def admit(client: httpx.Client) -> None:
    client.post(ADMIT).raise_for_status()
