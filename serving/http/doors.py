"""Wraps a handler with authentication, rate limits and a timeout."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from serving.contract.errors import unavailable
from serving.contract.openapi import Operation
from serving.http.auth import Guard, KeyRing
from serving.runtime import Runtime

Handler = Callable[[Request], Awaitable[Response]]


class Doors:
    """The guard of a service, there as soon as the service is loaded."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ring: KeyRing | None = None
        self._guard: Guard | None = None

    @property
    def guard(self) -> Guard:
        """Raises ApiError (503) until the service is loaded."""
        if self._guard is None:
            parts = self._runtime.parts
            security = parts.settings.security
            self._ring = KeyRing(parts.database, security.keys_seconds)
            self._guard = Guard(security, self._ring)
        return self._guard

    @property
    def ring(self) -> KeyRing:
        """Raises ApiError (503) until the service is loaded."""
        assert self.guard and self._ring
        return self._ring

    @property
    def seconds(self) -> float:
        """What a request may take."""
        return self._runtime.parts.settings.security.timeout_seconds

    async def follow(self, loading: "asyncio.Task[None]") -> None:
        """Keeps the keys fresh, once the service is loaded."""
        await asyncio.wait([loading])
        if loading.exception() is None:
            await self.ring.follow()


def guarded(operation: Operation, handler: Handler, doors: Doors) -> Handler:
    """The handler behind keys and limits, and with an end to its patience."""
    scope = operation.scope

    async def handle(request: Request) -> Response:
        if scope:
            request.state.caller = await doors.guard.admit(request, scope)
        else:
            doors.guard.admit_stranger(request)
        return await in_time(handler(request), doors.seconds)

    return handle


async def in_time(work: Awaitable[Response], seconds: float) -> Response:
    """The answer, or ApiError (503) after so many seconds. A thread that works on it ends by itself, unheard."""
    try:
        async with asyncio.timeout(seconds) as patience:
            return await work
    except TimeoutError as error:
        if not patience.expired():
            raise
        message = f"no answer within {seconds:g} s; what was sent may have been stored all the same"
        raise unavailable("too_slow", message) from error
