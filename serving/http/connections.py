"""Connection limits and slow-client (slowloris) protection for uvicorn.

uvicorn accepts every connection and waits for a request without a timeout, and each connection takes a file
descriptor that Postgres and the spool need too. Here a connection counts as idle from its opening or last response
until its next request is complete. It is closed if the request head does not arrive in time; when too many are open,
the longest idle one is closed.
"""

import asyncio
import ipaddress
import logging
import resource
import time
from collections import Counter
from typing import Any

import uvicorn

from components.settings import SecuritySettings

MAX_HEAD = 64 * 1024
"""Bytes of a request head that are buffered at most; twice what the middleware accepts."""
MAX_DESCRIPTORS = 65_536
RESERVED_DESCRIPTORS = 256
"""File descriptors reserved for everything but client connections."""
CHECK_SECONDS = 1.0
LOG_SECONDS = 60.0
"""Minimum interval between log messages about closed connections."""
logger = logging.getLogger(__name__)


class Connections:
    """Limits the connections of the watched servers, which share one event loop."""

    def __init__(self, limits: SecuritySettings) -> None:
        self.limits = limits
        self._max_open = MAX_DESCRIPTORS
        self._open: set[Any] = set()
        self._waiting: dict[Any, float] = {}
        self._addresses: Counter[str] = Counter()
        self._check_timer: asyncio.TimerHandle | None = None
        self._logged_at = -LOG_SECONDS

    def watch(self, server: uvicorn.Server) -> None:
        """Limits the connections that a server accepts from now on, and disables websockets."""
        self._max_open = _raise_descriptor_limit() - RESERVED_DESCRIPTORS
        server.config.http_protocol_class = _watched_protocol(server.config.http_protocol_class, self)
        server.config.ws_protocol_class = None

    def opened(self, connection: Any) -> None:
        """Registers a connection and enforces the limits.

        Closes it if its address has too many, and the longest idle connections if there are too many in total.
        """
        self._open.add(connection)
        self._waiting[connection] = time.monotonic()
        if address := _remote_address(connection):
            self._addresses[address] += 1
            if 0 < self.limits.address_connections < self._addresses[address]:
                self._close(connection, "one address has too many connections (security.address_connections)")
        while len(self._open) > min(self.limits.connections, self._max_open):
            longest = next(iter(self._waiting), connection)
            self._close(longest, "there are too many connections (security.connections)")
        if self._check_timer is None:
            self._check_timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._close_late)

    def awaits_request(self, connection: Any) -> None:
        """Marks a connection as idle: its response is sent."""
        if connection in self._open:
            self._waiting[connection] = time.monotonic()

    def request_received(self, connection: Any) -> None:
        """Marks a connection as busy: its request is complete."""
        self._waiting.pop(connection, None)

    def closed(self, connection: Any) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._waiting.pop(connection, None)
            if address := _remote_address(connection):
                self._addresses[address] -= 1
                if not self._addresses[address]:
                    del self._addresses[address]

    def _close_late(self) -> None:
        """Closes connections whose request head is overdue. Slow bodies are left to the timeout of the handler."""
        end = time.monotonic() - self.limits.head_seconds
        late = []
        for connection, since in self._waiting.items():
            if since > end:
                break
            if not connection.is_answering:
                late.append(connection)
        for connection in late:
            self._close(connection, "a request head did not arrive in time (security.head_seconds)")
        self._check_timer = (
            asyncio.get_running_loop().call_later(CHECK_SECONDS, self._close_late) if self._open else None
        )

    def _close(self, connection: Any, why: str) -> None:
        self.closed(connection)
        connection.transport.abort()
        if time.monotonic() - self._logged_at >= LOG_SECONDS:
            self._logged_at = time.monotonic()
            logger.warning("closing connections: %s", why)


def _watched_protocol(base: Any, connections: Connections) -> Any:
    """A subclass of the protocol that reports the state of its connections."""

    class Watched(base):
        head: int | None = 0
        """Bytes received of the current head; None from its end until body and response are complete."""

        @property
        def is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            connections.opened(self)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.closed(self)

        def data_received(self, data: bytes) -> None:
            in_head = self.head is not None
            super().data_received(data)
            if in_head and self.head is not None:  # the end of a body does not count as part of the next head
                self.head += len(data)
                if self.head > MAX_HEAD and not self.transport.is_closing():
                    self.send_400_response("The head of the request is too large.")

        def on_headers_complete(self) -> None:
            self.head = None
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            if self.is_answering:
                connections.request_received(self)
            else:  # the unread rest of a body that was answered early
                self.head = 0

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.is_answering:  # otherwise more pipelined requests follow
                self.head = None if self.cycle.more_body else 0
                connections.awaits_request(self)

    return Watched


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _remote_address(connection: Any) -> str | None:
    """The client's IP address, None for loopback."""
    return None if connection.client is None or is_loopback(connection.client[0]) else connection.client[0]


def _raise_descriptor_limit() -> int:
    """Raises the soft limit of open files as far as allowed; the new limit."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard_limit == resource.RLIM_INFINITY else min(hard_limit, MAX_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard_limit))
    return wanted
