"""The HTTP face: routes, limits, error shapes. What it answers is computed elsewhere, in threads."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving import answers, requests
from serving.catalogue import active_users, search_items
from serving.database import DatabaseAway
from serving.errors import ApiError, invalid, unavailable
from serving.handover import READY_FILE, ClosesWhenDraining, Drain, tell_ready
from serving.middleware import Measured, SecurityHeaders
from serving.openapi import Operation, openapi
from serving.page.files import page_routes
from serving.runtime import Parts, Runtime
from serving.trial import stand_trial

MAX_BODY = 1 << 20
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
Handler = Callable[[Request], Awaitable[Response]]
Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")


def make_app(runtime: Runtime) -> Starlette:
    """The ASGI app. It loads the runtime in the background once it is started."""
    operations = Handlers(runtime).operations()
    document = openapi([operation for operation, _ in operations])
    drain = Drain()

    async def description(_: Request) -> Response:
        return JSONResponse(document)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        drain.install()
        loading = asyncio.create_task(run_in_threadpool(runtime.load))
        loading.add_done_callback(runtime.loaded)
        await stand_trial(app, drain)
        if READY_FILE in os.environ:  # another Bento answers as long as this one does not
            await loading
            tell_ready()
        yield
        await asyncio.wait([loading])
        runtime.close()

    return Starlette(
        routes=[*_routes(operations), Route("/openapi.json", description), *page_routes()],
        middleware=[
            Middleware(Measured, metrics=runtime.metrics),
            Middleware(SecurityHeaders),
            Middleware(ClosesWhenDraining, drain=drain),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _unexpected},
        lifespan=lifespan,
    )


@dataclass(frozen=True)
class Handlers:
    """One method a route; the table below is also what the OpenAPI is made of."""

    runtime: Runtime

    def operations(self) -> list[tuple[Operation, Handler]]:
        return [
            (
                Operation(
                    "POST", "/recommend", "Recommendations for a user, live", answers.RecommendAnswer,
                    body=requests.RecommendRequest,
                ),
                self.recommend,
            ),
            (
                Operation(
                    "POST", "/feedback", "Store what users did; answered after the commit", answers.FeedbackAnswer,
                    body=requests.FeedbackRequest, needs_database=True,
                ),
                self.feedback,
            ),
            (
                Operation(
                    "POST", "/similar", "Items like an item", answers.SimilarAnswer, body=requests.SimilarRequest,
                    may_miss=True,
                ),
                self.similar,
            ),
            (
                Operation(
                    "POST", "/items", "Add or replace items of the catalogue; a new one is recommended from the next "
                    "model version on, a changed title or availability from the next answer on", answers.ItemsAnswer,
                    body=requests.ItemsRequest, needs_database=True,
                ),
                self.upsert_items,
            ),
            (
                Operation(
                    "GET", "/items", "Search the catalogue by title", answers.FoundItems, query=requests.ItemsQuery,
                    needs_database=True,
                ),
                self.find_items,
            ),
            (
                Operation(
                    "GET", "/users", "Some known users, the most active first", answers.KnownUsers,
                    query=requests.UsersQuery, needs_database=True,
                ),
                self.users,
            ),
            (Operation("GET", "/livez", "Is the process alive?", answers.Live), self.livez),
            (Operation("GET", "/readyz", "Can it answer? 503 and what is missing, if not", answers.Ready), self.readyz),
            (Operation("GET", "/metrics", "Prometheus metrics", None), self.metrics),
        ]  # fmt: skip

    async def recommend(self, request: Request) -> Response:
        parts = self.runtime.parts
        asked = await _body(request, requests.RecommendRequest, parts)
        return JSONResponse(await run_in_threadpool(parts.recommender.recommend, asked))

    async def similar(self, request: Request) -> Response:
        parts = self.runtime.parts
        asked = await _body(request, requests.SimilarRequest, parts)
        return JSONResponse(await run_in_threadpool(parts.recommender.similar, asked))

    async def feedback(self, request: Request) -> Response:
        parts = self.runtime.parts
        told = await _body(request, requests.FeedbackRequest, parts)
        return JSONResponse(await run_in_threadpool(parts.intake.feedback, told))

    async def upsert_items(self, request: Request) -> Response:
        parts = self.runtime.parts
        told = await _body(request, requests.ItemsRequest, parts)
        return JSONResponse(await run_in_threadpool(parts.intake.items, told))

    async def find_items(self, request: Request) -> Response:
        asked = _query(request, requests.ItemsQuery)
        found = await self._read(lambda connection: search_items(connection, asked.query, asked.limit))
        return JSONResponse({"items": found})

    async def users(self, request: Request) -> Response:
        asked = _query(request, requests.UsersQuery)
        return JSONResponse({"users": await self._read(lambda connection: active_users(connection, asked.limit))})

    async def livez(self, _: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(self, _: Request) -> Response:
        return JSONResponse(self.runtime.state(), status_code=503 if self.runtime.missing else 200)

    async def metrics(self, _: Request) -> Response:
        return Response(self.runtime.metrics.text(), media_type=PROMETHEUS)

    async def _read(self, question: Callable[[Connection], Result]) -> Result:
        database = self.runtime.parts.database

        def ask() -> Result:
            with database.begin() as connection:
                return question(connection)

        try:
            return await run_in_threadpool(ask)
        except DatabaseAway as error:
            raise unavailable("database_away", "Postgres is away; try again") from error


def _routes(operations: Sequence[tuple[Operation, Handler]]) -> list[Route]:
    """One route a path, so that a wrong method is told all the right ones."""
    paths: dict[str, dict[str, Handler]] = {}
    for operation, handler in operations:
        paths.setdefault(operation.path, {})[operation.method] = handler
    return [Route(path, _by_method(handlers), methods=list(handlers)) for path, handlers in paths.items()]


def _by_method(handlers: dict[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


async def _body(request: Request, model: type[Model], parts: Parts) -> Model:
    """The body as a model. Raises ApiError: 400 no JSON, 413 too large, 415 another type, 422 a wrong field.

    The type must be named: a browser lets no foreign page send it without asking first.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "unsupported_type", "the body must be JSON: send Content-Type: application/json", None)
    try:
        return model.model_validate_json(await _bytes(request), context={"max_k": parts.settings.ranking.max_k})
    except ValidationError as error:
        raise invalid(error) from error


async def _bytes(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise ApiError(413, "too_large", f"the body is larger than {MAX_BODY} bytes; send smaller batches")
        chunks.append(chunk)
    return b"".join(chunks)


def _query(request: Request, model: type[Model]) -> Model:
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from error


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: ("not_found", f"there is nothing at {request.url.path}; /docs lists the routes")}
    known[405] = ("method_not_allowed", f"{request.url.path} does not take {request.method}; /docs lists the methods")
    code, message = known.get(error.status_code, ("http_error", error.detail))
    return ApiError(error.status_code, code, message, headers=error.headers).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    """Starlette logs the error itself, with its traceback, and gives it to the server; the caller sees none of it."""
    return ApiError(500, "internal", "the service failed; its log says why").response()
