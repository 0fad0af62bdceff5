"""The handlers of the routes and the table of operations. Blocking work runs in threads."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from components.core.ids import clean_id
from components.store.keys import ADMIN, FEEDBACK, RECOMMEND, sign_in
from serving.contract import requests, responses
from serving.contract.errors import ApiError, unavailable
from serving.contract.openapi import Operation
from serving.contract.responses import Json
from serving.http.access import Access, Handler
from serving.http.auth import begin_session
from serving.http.bodies import read_body, read_query
from serving.process.identity import PLATFORM
from serving.recommend.catalogue import active_users, search_items
from serving.runtime import Runtime
from serving.storage.postgres import DatabaseAway

AWAY = "Postgres is away"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
Result = TypeVar("Result")


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
                    "POST", "/items", "Add catalogue items, or change the given fields of existing ones; a new item "
                    "is recommended by its text within seconds, a changed title or availability counts from the next "
                    "response", responses.ItemsAnswer,
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
