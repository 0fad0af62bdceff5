"""The ASGI app: startup and shutdown, routes, middleware and error responses."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from components.settings import SecuritySettings
from components.store.privacy import PrivacyError
from serving.contract.errors import ApiError, unavailable
from serving.contract.openapi import Operation, openapi
from serving.contract.responses import Json
from serving.http.access import Access, Handler, protected
from serving.http.connections import Connections
from serving.http.handlers import Handlers
from serving.http.middleware import RequestMiddleware
from serving.page.files import page_routes
from serving.process.handover import READY_FILE, Drain, uvicorn_server, write_ready_file
from serving.process.smoke_test import warm_standby
from serving.process.transport import coalesce_writes
from serving.runtime import Runtime
from serving.storage.spool import SpoolError
from serving.telemetry.tracing import TraceMiddleware, is_enabled

logger = logging.getLogger(__name__)


def make_app(runtime: Runtime) -> Starlette:
    """The ASGI app, which loads the runtime in the background on startup."""
    access = Access(runtime)
    operations = Handlers(runtime, access).operations()
    document = openapi([operation for operation, _ in operations])
    drain = Drain()
    connections = Connections(SecuritySettings())

    def loaded(loading: asyncio.Task[None]) -> None:
        runtime.loaded(loading)
        if loading.exception() is None:
            connections.limits = runtime.parts.settings.security

    async def description(_: Request) -> Response:
        return Json(document)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if server := uvicorn_server():
            drain.install(server)
            coalesce_writes(server)
            connections.watch(server)
        loading = asyncio.create_task(run_in_threadpool(runtime.load))
        loading.add_done_callback(loaded)
        await warm_standby(app, drain)
        polling = asyncio.create_task(access.poll_keys(loading))
        if READY_FILE in os.environ:  # the previous Bento serves until this one is ready
            await loading
            write_ready_file()
        yield
        polling.cancel()
        await asyncio.wait([loading, polling])
        runtime.close()

    app = Starlette(
        routes=[*_routes(operations, access), Route("/openapi.json", description), *page_routes()],
        middleware=[
            Middleware(RequestMiddleware, metrics=runtime.metrics, drain=drain),
            *([Middleware(TraceMiddleware, traces=runtime.traces)] if is_enabled() else []),
        ],
        exception_handlers={
            ApiError: _api_error,
            PrivacyError: _privacy_error,
            SpoolError: _spool_error,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would point to whatever Host header the client sent
    return app


def _routes(operations: Sequence[tuple[Operation, Handler]], access: Access) -> list[Route]:
    """One route per path, so that the 405 response to a wrong method lists all allowed ones."""
    paths: dict[str, dict[str, Handler]] = {}
    for operation, handler in operations:
        wrapped = protected(operation, handler, access) if operation.scope or operation.takes_sign_in_token else handler
        paths.setdefault(operation.path, {})[operation.method] = wrapped
    return [Route(path, _ByMethod(handlers), methods=list(handlers)) for path, handlers in paths.items()]


@dataclass(frozen=True)
class _ByMethod:
    """The handlers of one path as an ASGI app; the app's exception handlers turn what they raise into responses."""

    handlers: dict[str, Handler]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self.handlers["GET" if scope["method"] == "HEAD" else scope["method"]]
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _privacy_error(_: Request, error: Exception) -> Response:
    """503: without the right privacy key (of the keyed hashes) no user data is read or stored."""
    logger.error("%s", error)
    return unavailable("privacy_key", "the service lacks the privacy key that its store needs; see its log").response()


async def _spool_error(_: Request, error: Exception) -> Response:
    logger.error("%s", error)
    return unavailable("spool", "the service cannot use its spool disk; see its log").response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"]  # request.url would contain the client's Host header, which may be anything
    errors = {404: ("not_found", f"there is nothing at {path}; /docs lists the routes")}
    errors[405] = ("method_not_allowed", f"{path} does not take {request.method}; /docs lists the methods")
    code, message = errors.get(error.status_code, ("http_error", error.detail))
    return ApiError(error.status_code, code, message, headers=error.headers).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    """500: the traceback goes to the log, never to the client."""
    logger.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return ApiError(500, "internal", "internal error; see the log of the service").response()
