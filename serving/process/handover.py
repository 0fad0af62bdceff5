"""Zero-downtime handover between two Bentos, which accept from the same listening socket meanwhile."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextvars import Context
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

DRAIN_SECONDS = 6.0
"""Longer than uvicorn's keep-alive timeout, so that each connection ends after a response or by that timeout."""
POLL_SECONDS = 0.1
READY_FILE = "DUOTEMPO_READY_FILE"
"""Names the file that a Bento creates once it is loaded; it accepts no request before."""
logger = logging.getLogger(__name__)


def write_ready_file() -> None:
    """Creates the ready file, if the environment names one."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()


def uvicorn_server() -> uvicorn.Server | None:
    """The uvicorn server of this process, found by its signal handler; None under any other server."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


class Drain:
    """Graceful shutdown on SIGTERM: accepts no more connections, closes each after its next response, then exits."""

    def __init__(self) -> None:
        self.started = False

    def install(self, server: uvicorn.Server) -> None:
        """Installs the drain in front of the server's SIGTERM handler."""
        loop, handler = asyncio.get_running_loop(), server.handle_exit

        def begin(number: int, frame: FrameType | None) -> None:
            signal.signal(number, handler)
            self.started = True
            end = partial(handler, number, frame)
            # in an empty context: else log lines would carry the id of the interrupted request
            loop.call_soon_threadsafe(lambda: loop.create_task(_drain(server, end)), context=Context())

        signal.signal(signal.SIGTERM, begin)


async def _drain(server: uvicorn.Server, end: Callable[[], object]) -> None:
    logger.info("handing over: %d connections are open", len(server.server_state.connections))
    for listener in getattr(server, "servers", ()):  # absent before the server has started
        listener.close()
    deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
    while server.server_state.connections and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS)
    end()
