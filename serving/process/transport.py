"""Write coalescing: head and body of a response leave in one system call, and so in one packet."""

import asyncio
from typing import Any

import uvicorn


def coalesce_writes(server: uvicorn.Server) -> None:
    """Makes a uvicorn server coalesce writes on the connections that it accepts from now on."""
    base: Any = server.config.http_protocol_class

    class Protocol(base):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(CoalescingTransport(transport))

    server.config.http_protocol_class = Protocol


class CoalescingTransport:
    """A transport that holds a write until the next write, or the next iteration of the event loop."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held and not self.is_closing():
            self._transport.write(self._held)
        self._held = b""
