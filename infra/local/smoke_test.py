"""Smoke-tests a Bento that is loaded but does not yet accept at the fixed address, then admits it."""

import time
from collections.abc import Callable

import httpx

from infra.home.errors import SmokeTestFailed, log_tail
from infra.home.home import Home
from infra.processes.bento import program_name
from infra.processes.supervisor import Supervisor
from serving.process.smoke_test import ADMIT

Check = Callable[[httpx.Client], None]
"""Smoke test: sends requests with the client, and raises an error if the Bento fails."""
ANSWER_SECONDS = 15.0
PAUSE_SECONDS = 0.1


def run_smoke_test(
    tag: str, check: Check, home: Home, supervisor: Supervisor, secrets: list[str], seconds: float
) -> None:
    """Runs the smoke test `check` on a Bento and admits it.

    Args:
        secrets: Strings to mask in the log that an error quotes.
        seconds: Time limit for loading the Bento.

    Raises:
        SmokeTestFailed: The Bento was not loaded in time, or failed. Other errors of `check` pass through.
    """
    program = program_name(tag)

    def given_up() -> bool:
        process = supervisor.processes().get(program)
        return process is not None and process.given_up

    transport = httpx.HTTPTransport(uds=str(home.smoke_test_socket))
    with httpx.Client(transport=transport, base_url="http://trial", timeout=ANSWER_SECONDS) as client:
        try:
            _wait_until_loaded(client, given_up, seconds)
            check(client)
            client.post(ADMIT).raise_for_status()
        except (SmokeTestFailed, httpx.HTTPError) as error:
            log = log_tail(home.log(program), secrets)
            raise SmokeTestFailed(f"{tag} failed its smoke test: {error}. Its log ends with\n{log}") from error


def _wait_until_loaded(client: httpx.Client, given_up: Callable[[], bool], seconds: float) -> None:
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
