"""How a Bento takes over an address from another one, and hands it on: both accept from one socket meanwhile."""

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
"""Longer than a server keeps an idle connection open, so that each is closed with an answer or by that."""
POLL_SECONDS = 0.1
READY_FILE = "DUOTEMPO_READY_FILE"
"""Where a Bento says that it is loaded; it accepts no request before."""
logger = logging.getLogger(__name__)


def write_ready_file() -> None:
    """Makes the file at which whoever started this Bento looks, if it named one."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()


def uvicorn_server() -> uvicorn.Server | None:
    """The server that this process is, known by its signal handler; None under any other server."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


class Drain:
    """On SIGTERM the process accepts no more connections, ends each one with its next answer, and then ends itself."""

    def __init__(self) -> None:
        self.started = False

    def install(self, server: uvicorn.Server) -> None:
        """Comes before the signal handler of the server."""
        loop, handler = asyncio.get_running_loop(), server.handle_exit

        def begin(number: int, frame: FrameType | None) -> None:
            signal.signal(number, handler)
            self.started = True
            end = partial(handler, number, frame)
            # not in the context of the request that the signal broke into: the log would name its id
            loop.call_soon_threadsafe(lambda: loop.create_task(_drain(server, end)), context=Context())

        signal.signal(signal.SIGTERM, begin)


async def _drain(server: uvicorn.Server, end: Callable[[], object]) -> None:
    logger.info("handing over: %d connections are open", len(server.server_state.connections))
    for listener in getattr(server, "servers", ()):  # it has none before it has begun
        listener.close()
    deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
    while server.server_state.connections and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS)
    end()
