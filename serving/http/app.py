"""The ASGI app: routes, handlers and error responses. Blocking work runs in threads."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from components.core.ids import clean_id
from components.settings import SecuritySettings
from components.store.keys import ADMIN, FEEDBACK, RECOMMEND, sign_in
from components.store.privacy import PrivacyError
from serving.contract import requests, responses
from serving.contract.errors import ApiError, unavailable
from serving.contract.openapi import Operation, openapi
from serving.contract.responses import Json
from serving.http.access import Access, Handler, protected
from serving.http.auth import begin_session
from serving.http.bodies import read_body, read_query
from serving.http.connections import Connections
from serving.http.middleware import RequestMiddleware
from serving.page.files import page_routes
from serving.process.handover import READY_FILE, Drain, uvicorn_server, write_ready_file
from serving.process.identity import PLATFORM
from serving.process.smoke_test import warm_standby
from serving.process.transport import coalesce_writes
from serving.recommend.catalogue import active_users, search_items
from serving.runtime import Runtime
from serving.storage.postgres import DatabaseAway
from serving.storage.spool import SpoolError
from serving.telemetry.tracing import TraceMiddleware, is_enabled

logger = logging.getLogger(__name__)
AWAY = "Postgres is away"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
Result = TypeVar("Result")


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


@dataclass(frozen=True)
class Handlers:
    """One method per route; the OpenAPI document is generated from the table of operations."""

    runtime: Runtime
    access: Access

    def operations(self) -> list[tuple[Operation, Handler]]:
        return [
            (
                Operation(
                    "POST", "/recommend", "Live recommendations for a user", responses.RecommendAnswer,
                    body=requests.RecommendRequest, scope=RECOMMEND,
                ),
                self.recommend,
            ),
            (
                Operation(
                    "POST", "/feedback", "Store user events; answered after the commit or, while Postgres is away, "
                    "once they are safe in the spool on disk", responses.FeedbackAnswer, body=requests.FeedbackRequest,
                    unavailable_when="Postgres is away and the spool is full", scope=FEEDBACK,
                ),
                self.feedback,
            ),
            (
                Operation(
                    "POST", "/similar", "Items similar to an item", responses.SimilarAnswer,
                    body=requests.SimilarRequest, may_be_unknown=True, scope=RECOMMEND,
                ),
                self.similar,
            ),
            (
                Operation(
                    "POST", "/items", "Add or replace catalogue items; a new one is recommended by its text within "
                    "seconds, a changed title or availability counts from the next response", responses.ItemsAnswer,
                    body=requests.ItemsRequest, unavailable_when=AWAY, scope=ADMIN,
                ),
                self.upsert_items,
            ),
            (
                Operation(
                    "GET", "/items", "Search the catalogue by title", responses.FoundItems, query=requests.ItemsQuery,
                    unavailable_when=AWAY, scope=RECOMMEND,
                ),
                self.find_items,
            ),
            (
                Operation(
                    "GET", "/users", "Users with events, the most active first", responses.KnownUsers,
                    query=requests.UsersQuery, unavailable_when=AWAY, scope=ADMIN,
                ),
                self.users,
            ),
            (
                Operation(
                    "POST", "/forget", "Erase a user: from every table at once, then from the files",
                    responses.ForgetAnswer, body=requests.PersonRequest, unavailable_when=AWAY, scope=ADMIN,
                ),
                self.forget,
            ),
            (
                Operation(
                    "POST", "/export", "Export all data stored about a user", responses.ExportAnswer,
                    body=requests.PersonRequest, unavailable_when=AWAY, scope=ADMIN,
                ),
                self.export,
            ),
            (
                Operation(
                    "POST", "/consent", "Set whether a user's events may be stored and used", responses.ConsentAnswer,
                    body=requests.ConsentRequest, unavailable_when=AWAY, scope=ADMIN,
                ),
                self.consent,
            ),
            (
                Operation(
                    "POST", "/session", "Exchange the one-time token of `duotempo open store` for a session cookie",
                    responses.SignedIn, body=requests.SignInRequest, unavailable_when=AWAY, takes_sign_in_token=True,
                ),
                self.sign_in,
            ),
            (Operation("GET", "/livez", "Liveness probe", responses.Live), self.livez),
            (
                Operation("GET", "/readyz", "Readiness probe; 503 with what is missing, if not ready", responses.Ready),
                self.readyz,
            ),
            (Operation("GET", "/metrics", "Prometheus metrics", None), self.metrics),
        ]  # fmt: skip

    async def recommend(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.RecommendRequest, parts)
        self.access.gate.admit_users(request.state.caller, [body.user_id])
        if (user_id := parts.privacy.pseudonym(body.user_id)) != body.user_id:
            body = body.model_copy(update={"user_id": user_id})
        request.state.answer = answer = await parts.recommender.recommend(body)
        return Json(answer)

    async def similar(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.SimilarRequest, parts)
        return Json(await run_in_threadpool(parts.recommender.similar, body))

    async def feedback(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.FeedbackRequest, parts)
        users, items = ([clean_id(event[name]) or "" for event in body.events] for name in ("user_id", "item_id"))
        self.access.gate.admit_users(request.state.caller, users)
        self.access.gate.admit_events(request.state.caller, users, items)
        request.state.answer = answer = await parts.intake.feedback(body)
        return Json(answer)

    async def upsert_items(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.ItemsRequest, parts)
        return Json(await run_in_threadpool(parts.intake.items, body))

    async def find_items(self, request: Request) -> Response:
        query = read_query(request, requests.ItemsQuery)
        items = await self._read(lambda connection: search_items(connection, query.query, query.limit))
        return Json({"items": items})

    async def users(self, request: Request) -> Response:
        query = read_query(request, requests.UsersQuery)
        return Json({"users": await self._read(lambda connection: active_users(connection, query.limit))})

    async def forget(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.PersonRequest, parts)
        return Json(await run_in_threadpool(parts.people.forget, body))

    async def export(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.PersonRequest, parts)
        return Json(await run_in_threadpool(parts.people.export, body))

    async def consent(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.ConsentRequest, parts)
        return Json(await run_in_threadpool(parts.people.consent, body))

    async def sign_in(self, request: Request) -> Response:
        parts = self.runtime.parts
        body = await read_body(request, requests.SignInRequest, parts)
        key = await self._read(lambda connection: sign_in(connection, body.token))
        if key is None:
            message = "the link was used already or has expired: `duotempo open store` makes a new one"
            raise ApiError(401, "no_link", message, "token")
        await self.access.key_ring.read()
        response = Json({"signed_in": True})
        begin_session(request, response, key)
        return response

    async def livez(self, _: Request) -> Response:
        return Json({"alive": True, "platform": os.environ.get(PLATFORM)})

    async def readyz(self, _: Request) -> Response:
        return Json(self.runtime.state(), status_code=503 if self.runtime.missing else 200)

    async def metrics(self, _: Request) -> Response:
        return Response(await run_in_threadpool(self.runtime.metrics.text), media_type=PROMETHEUS)

    async def _read(self, query: Callable[[Connection], Result]) -> Result:
        database = self.runtime.parts.database

        def read() -> Result:
            with database.begin() as connection:
                return query(connection)

        try:
            return await run_in_threadpool(read)
        except DatabaseAway as error:
            raise unavailable("database_away", "Postgres is away; try again") from error


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
