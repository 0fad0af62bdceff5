"""Middleware of every request: request id, metrics, access log, security headers."""

import time
from collections.abc import Iterable
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.contract.errors import ApiError
from serving.process.handover import Drain
from serving.telemetry.logs import log_request, new_request_id, request_id
from serving.telemetry.metrics import Metrics

SECURITY_HEADERS = {
    b"content-security-policy": (
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
"""Default response headers: content security policy, no sniffing, no referrer, no caching."""
CLOSE_HEADER = (b"connection", b"close")
MAX_HEADERS = 32 * 1024
UNKNOWN_ROUTE = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Headers = Iterable[tuple[bytes, bytes]]


class RequestMiddleware:
    """Assigns a request id (returned as X-Request-Id), limits the size of the headers to 32 KiB, adds security
    headers, counts requests by route, method and status, and measures latency by route.

    While the process drains, responses carry `Connection: close`, so that clients reconnect to the next Bento.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, drain: Drain) -> None:
        self._app = app
        self._requests = cache(metrics.requests.labels)
        self._latency = cache(metrics.latency.labels)
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        new_id = new_request_id()
        request_id.set(new_id)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._with_headers(message.get("headers", ()), new_id)
            await send(message)

        try:
            app = self._app if _size(scope["headers"]) <= MAX_HEADERS else _refuse_headers
            await app(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _with_headers(self, headers: Headers, new_id: str) -> list[tuple[bytes, bytes]]:
        all_headers = [*headers, (b"x-request-id", new_id.encode())]
        names = {name for name, _ in all_headers}
        all_headers += [(name, value) for name, value in SECURITY_HEADERS.items() if name not in names]
        if self._drain.started:
            all_headers.append(CLOSE_HEADER)
        return all_headers

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests(route, method, str(status)).inc()
        self._latency(route).observe(seconds)
        log_request(method, route, status, seconds, scope.get("state", {}).get("answer", {}))


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


async def _refuse_headers(scope: Scope, receive: Receive, send: Send) -> None:
    refusal = ApiError(431, "headers_too_large", f"the headers are larger than {MAX_HEADERS} bytes")
    await refusal.response()(scope, receive, send)
