"""Smoke test of a warm standby: a loaded Bento serves a Unix socket before it accepts requests at the address.

The deployment (`infra/local/smoke_test.py`) sends it test requests there, to each version by the header VERSION, and
then admits it by POST /admit, or stops it.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.process.handover import Drain

SOCKET = "DUOTEMPO_TRIAL_SOCKET"
"""Environment variable with the path of the Unix socket; a Bento without it skips the smoke test."""
VERSION = "X-Duotempo-Version"
ADMIT = "/admit"
POLL_SECONDS = 0.05
requested_version: ContextVar[str | None] = ContextVar("wanted_version", default=None)
"""The version that a smoke test request is for; None for all other requests."""


class NotAdmitted(Exception):
    """The Bento was stopped during the smoke test, without accepting any request."""


async def warm_standby(app: ASGIApp, drain: Drain) -> None:
    """Serves the smoke test until the Bento is admitted. Raises NotAdmitted if it is stopped first."""
    if (path := os.environ.get(SOCKET)) is None:
        return
    smoke_test = _SmokeTestApp(app)
    server = _Server(uvicorn.Config(smoke_test, uds=path, lifespan="off", log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    while not smoke_test.admitted and not drain.started:
        if serving.done():
            serving.result()
        await asyncio.sleep(POLL_SECONDS)
    server.should_exit = True
    await serving
    with suppress(FileNotFoundError):
        Path(path).unlink()
    if not smoke_test.admitted:
        raise NotAdmitted


class _SmokeTestApp:
    """The app behind the Unix socket, with version selection and the route /admit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.admitted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == ADMIT:
            self.admitted = True
            await Response(status_code=204)(scope, receive, send)
            return
        token = requested_version.set(Headers(scope=scope).get(VERSION))
        try:
            await self._app(scope, receive, send)
        finally:
            requested_version.reset(token)


class _Server(uvicorn.Server):
    """A second uvicorn server in the process, which leaves the signal handlers to the first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
