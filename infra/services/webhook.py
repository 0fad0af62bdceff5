"""`python -m infra.services.webhook`: hears from the registry of aliases and copies, and looks by itself, too.

POST /alias takes MLflow's webhook. The one platform it belongs to is that of the settings.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from components.core.errors import DuotempoError
from components.core.logs import log_to
from components.registry import NAME, PRODUCTION, Problem, WebhookRefused, check_delivery
from components.registry.webhook import FRESH_SECONDS
from components.settings import Settings
from components.store.engine import make_engine
from components.store.variants import CHAMPION
from infra.deploy.promotion import show_standings
from infra.deploy.reconciler import Reconciler
from infra.local.platform import Platform
from infra.watch.alerts import Alerts
from infra.watch.problems import watch
from infra.watch.reruns import look_after_runs
from serving.http.connections import Connections

MAX_BODY = 1 << 16
LOOK_SECONDS = 15.0
RETRY_AFTER = {"Retry-After": "5"}
log = logging.getLogger(__name__)


class Deliveries:
    """The deliveries that were taken, as long as an equal one would still be fresh."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}

    def __contains__(self, delivery: str) -> bool:
        return delivery in self._taken

    def add(self, delivery: str, now: float) -> None:
        self._taken = {key: at for key, at in self._taken.items() if now - at < 2 * FRESH_SECONDS}
        self._taken[delivery] = now


class Hook:
    """The routes and the look-out of one platform."""

    def __init__(self, platform: Platform, engine: Engine, secret: str, ready: Path) -> None:
        """ready: made once a look has passed, whatever it found."""
        self._platform = platform
        self._engine = engine
        self._reconciler = Reconciler(platform, engine)
        self._alerts = Alerts(platform.home.alerts, f"{socket.gethostname()} {platform.home.id}")
        self._secret = secret
        self._ready = ready
        self._deliveries = Deliveries()
        self._one_at_a_time = asyncio.Lock()
        self._registry = CollectorRegistry()
        self._looked = Gauge(
            "duotempo_hook_looked_timestamp_seconds", "When registry and platform were last compared.",
            registry=self._registry,
        )  # fmt: skip
        self._problems = Gauge(
            "duotempo_problem", "1 for each problem of the platform, its registry's among them.", ["problem"],
            registry=self._registry,
        )  # fmt: skip

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/alias", self.alias, methods=["POST"]), Route("/livez", self.livez),
                Route("/metrics", self.metrics),
            ],
            lifespan=self._lifespan,
        )  # fmt: skip

    async def livez(self, _: Request) -> Response:
        return JSONResponse({"alive": True})

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type="text/plain")

    async def alias(self, request: Request) -> Response:
        """400: not MLflow's shape; 401: not signed by it, or not now; 409: a replay; 503: it may send it again."""
        try:
            body = await _read(request)
        except ClientDisconnect:
            return _answer(400, "the caller hung up in the middle of the body")
        if body is None:
            return _answer(413, "the body is too large for a webhook of MLflow")
        try:
            delivery = check_delivery(request.headers, body, self._secret)
        except WebhookRefused as error:
            log.warning("a webhook was refused: %s", error)
            return _answer(401, str(error))
        if delivery in self._deliveries:
            return _answer(409, f"the delivery {delivery} was taken before")
        try:
            hint = heard(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _answer(
                400, "the body is not what MLflow sends of an alias or a version: data with name, alias, version"
            )
        found = "neither the champion's alias nor a copy of a version: nothing to do"
        if hint is not None:
            try:
                found = await self._look(hint)
            except DuotempoError as error:
                log.warning("the webhook %s cannot be followed now: %s", delivery, error)
                return _answer(503, "a server is down: the look-out finds it once that is back", RETRY_AFTER)
        self._deliveries.add(delivery, asyncio.get_running_loop().time())
        return _answer(200, found)

    async def _look(self, hint: str = "") -> str:
        async with self._one_at_a_time:
            try:
                found = await run_in_threadpool(lambda: self._reconcile(hint))
            finally:
                self._show(await run_in_threadpool(lambda: watch(self._platform, self._engine, self._alerts)))
        self._looked.set_to_current_time()
        log.log(logging.INFO if hint else logging.DEBUG, "%s: %s", hint or "look-out", found)
        return found

    async def _look_after_runs(self) -> None:
        await run_in_threadpool(look_after_runs, datetime.now(UTC))

    def _reconcile(self, hint: str) -> str:
        found = self._reconciler.look(hint)
        show_standings(self._platform, self._engine)
        return found

    def _show(self, problems: list[Problem]) -> None:
        self._problems.clear()
        for problem in problems:
            self._problems.labels(problem.name).set(1)

    async def _look_out(self) -> None:
        """Looks again and again; what is down now is asked again at the next look."""
        while True:
            for look in (self._look, self._look_after_runs):
                try:
                    await look()
                except DuotempoError as error:
                    log.warning("look-out: %s", error)
            self._ready.touch()
            await asyncio.sleep(LOOK_SECONDS)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look_out())
        looking.add_done_callback(_end_on_error)
        yield
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        self._engine.dispose()


def heard(event: Any) -> str | None:
    """Why to look at the registry, by what a webhook says: an alias was set (the hint of `reconcile`), or something
    else has changed (no hint); None: nothing of ours. Raises KeyError, TypeError, AttributeError for another shape."""
    told = event["data"]
    name, alias = told["name"], told.get("alias")
    if alias is None:
        return "" if told["version"] and name == PRODUCTION else None
    if (name, alias) != (NAME, CHAMPION):
        return None
    return "" if event.get("action") == "deleted" else f"alias {alias} set on version {told['version']}"


def _end_on_error(task: "asyncio.Task[None]") -> None:
    """An error that nobody foresaw ends the process, so that the supervisor starts it anew."""
    if not task.cancelled() and (error := task.exception()):
        log.error("the look-out failed", exc_info=error)
        raise SystemExit(1)


async def _read(request: Request) -> bytes | None:
    """The body; None when it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return body


def _answer(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": message}, status_code=status, headers=headers)


def main() -> None:
    log_to(logging.StreamHandler())
    settings = Settings()
    platform = Platform(settings)
    home = platform.home
    hook = Hook(platform, make_engine(platform.database_url), home.kept_secret("webhook"), home.own_ready_file())
    port = home.state.ports["hook"]
    config = uvicorn.Config(hook.app(), host=settings.platform.host, port=port, log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    Connections(settings.security).watch(server)
    server.run()


if __name__ == "__main__":
    main()
