"""Wraps a handler with authentication, rate limits and a timeout."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from serving.contract.errors import unavailable
from serving.contract.openapi import Operation
from serving.http.auth import AuthGate, KeyRing
from serving.runtime import Runtime

Handler = Callable[[Request], Awaitable[Response]]


class Access:
    """The auth gate of a service, available once the service is loaded."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._key_ring: KeyRing | None = None
        self._gate: AuthGate | None = None

    @property
    def gate(self) -> AuthGate:
        """Raises ApiError (503) until the service is loaded."""
        if self._gate is None:
            parts = self._runtime.parts
            security = parts.settings.security
            self._key_ring = KeyRing(parts.database, security.keys_seconds)
            self._gate = AuthGate(security, self._key_ring)
        return self._gate

    @property
    def key_ring(self) -> KeyRing:
        """Raises ApiError (503) until the service is loaded."""
        assert self.gate and self._key_ring
        return self._key_ring

    @property
    def timeout_seconds(self) -> float:
        """Seconds after which a request is answered with 503."""
        return self._runtime.parts.settings.security.timeout_seconds

    async def poll_keys(self, loading: "asyncio.Task[None]") -> None:
        """Polls the API keys, once the service is loaded."""
        await asyncio.wait([loading])
        if loading.exception() is None:
            await self.key_ring.poll()


def protected(operation: Operation, handler: Handler, access: Access) -> Handler:
    """The handler behind authentication, rate limits and a timeout."""
    scope = operation.scope

    async def handle(request: Request) -> Response:
        if scope:
            request.state.caller = await access.gate.admit(request, scope)
        else:
            access.gate.admit_anonymous(request)
        return await with_timeout(handler(request), access.timeout_seconds)

    return handle


async def with_timeout(response: Awaitable[Response], seconds: float) -> Response:
    """The response. Raises ApiError (503) after `seconds`; a worker thread keeps running, but its result is lost."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await response
    except TimeoutError as error:
        if not limit.expired():
            raise
        message = f"no answer within {seconds:g} s; what was sent may have been stored all the same"
        raise unavailable("too_slow", message) from error
