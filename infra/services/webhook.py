"""`python -m infra.services.webhook`: receives the registry's webhooks, and also polls the registry.

POST /alias takes MLflow's webhook for aliases and new versions. It serves the platform of the settings.
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
from components.core.logs import configure_logging
from components.registry import NAME, PRODUCTION, Problem, WebhookRefused, check_delivery
from components.registry.webhook import FRESH_SECONDS
from components.settings import Settings
from components.store.engine import make_engine
from components.store.variants import CHAMPION
from infra.deploy.promotion import publish_statuses
from infra.deploy.reconciler import Reconciler
from infra.local.platform import Platform
from infra.watch.alerts import Alerts
from infra.watch.problems import watch
from infra.watch.reruns import rerun_crashed_runs
from serving.http.connections import Connections

MAX_BODY = 1 << 16
POLL_SECONDS = 15.0
RETRY_AFTER = {"Retry-After": "5"}
log = logging.getLogger(__name__)


class RecentDeliveries:
    """Ids of accepted deliveries, kept as long as a replay would still count as fresh."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}

    def __contains__(self, delivery: str) -> bool:
        return delivery in self._taken

    def add(self, delivery: str, now: float) -> None:
        self._taken = {key: at for key, at in self._taken.items() if now - at < 2 * FRESH_SECONDS}
        self._taken[delivery] = now


class WebhookReceiver:
    """Routes and polling loop of one platform."""

    def __init__(self, platform: Platform, engine: Engine, secret: str, ready: Path) -> None:
        """ready: file that is created after the first check, whatever its result."""
        self._platform = platform
        self._engine = engine
        self._reconciler = Reconciler(platform, engine)
        self._alerts = Alerts(platform.home.alerts, f"{socket.gethostname()} {platform.home.id}")
        self._secret = secret
        self._ready = ready
        self._deliveries = RecentDeliveries()
        self._lock = asyncio.Lock()
        self._registry = CollectorRegistry()
        self._last_check = Gauge(
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
        """Handles a webhook delivery.

        Status codes: 400 malformed; 401 wrong signature or stale; 409 replay; 413 too large; 503 a server is down,
        MLflow may retry.
        """
        try:
            body = await _read(request)
        except ClientDisconnect:
            return _answer(400, "the client disconnected in the middle of the body")
        if body is None:
            return _answer(413, "the body is too large for a webhook of MLflow")
        try:
            delivery = check_delivery(request.headers, body, self._secret)
        except WebhookRefused as error:
            log.warning("a webhook was refused: %s", error)
            return _answer(401, str(error))
        if delivery in self._deliveries:
            return _answer(409, f"the delivery {delivery} was accepted before")
        try:
            hint = parse_event(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _answer(
                400, "the body is not what MLflow sends of an alias or a version: data with name, alias, version"
            )
        outcome = "neither the champion's alias nor a copy of a version: nothing to do"
        if hint is not None:
            try:
                outcome = await self._check(hint)
            except DuotempoError as error:
                log.warning("the webhook %s cannot be processed now: %s", delivery, error)
                return _answer(503, "a server is down: polling finds the change once it is back", RETRY_AFTER)
        self._deliveries.add(delivery, asyncio.get_running_loop().time())
        return _answer(200, outcome)

    async def _check(self, hint: str = "") -> str:
        async with self._lock:
            try:
                outcome = await run_in_threadpool(lambda: self._reconcile(hint))
            finally:
                self._show(await run_in_threadpool(lambda: watch(self._platform, self._engine, self._alerts)))
        self._last_check.set_to_current_time()
        log.log(logging.INFO if hint else logging.DEBUG, "%s: %s", hint or "polling", outcome)
        return outcome

    async def _rerun_crashed(self) -> None:
        await run_in_threadpool(rerun_crashed_runs, datetime.now(UTC))

    def _reconcile(self, hint: str) -> str:
        outcome = self._reconciler.check(hint)
        publish_statuses(self._platform, self._engine)
        return outcome

    def _show(self, problems: list[Problem]) -> None:
        self._problems.clear()
        for problem in problems:
            self._problems.labels(problem.name).set(1)

    async def _poll_forever(self) -> None:
        """Polls the registry and the flow runs forever; a server that is down is retried at the next poll."""
        while True:
            for step in (self._check, self._rerun_crashed):
                try:
                    await step()
                except DuotempoError as error:
                    log.warning("polling: %s", error)
            self._ready.touch()
            await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        polling = asyncio.create_task(self._poll_forever())
        polling.add_done_callback(_exit_on_error)
        yield
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling
        self._engine.dispose()


def parse_event(event: Any) -> str | None:
    """Interprets a webhook's event.

    Returns:
        A hint for the reconciler if the champion's alias was set, an empty hint for another relevant change, None for
        events that do not concern Duotempo.

    Raises:
        KeyError, TypeError, AttributeError: The event is malformed.
    """
    data = event["data"]
    name, alias = data["name"], data.get("alias")
    if alias is None:
        return "" if data["version"] and name == PRODUCTION else None
    if (name, alias) != (NAME, CHAMPION):
        return None
    return "" if event.get("action") == "deleted" else f"alias {alias} set on version {data['version']}"


def _exit_on_error(task: "asyncio.Task[None]") -> None:
    """Exits the process on an unexpected error, so that the supervisor restarts it."""
    if not task.cancelled() and (error := task.exception()):
        log.error("polling failed", exc_info=error)
        raise SystemExit(1)


async def _read(request: Request) -> bytes | None:
    """Reads the body; None if it exceeds MAX_BODY."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return body


def _answer(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": message}, status_code=status, headers=headers)


def main() -> None:
    configure_logging(logging.StreamHandler())
    settings = Settings()
    platform = Platform(settings)
    home = platform.home
    receiver = WebhookReceiver(
        platform, make_engine(platform.database_url), home.ensure_secret("webhook"), home.new_ready_file()
    )
    port = home.state.ports["hook"]
    config = uvicorn.Config(receiver.app(), host=settings.platform.host, port=port, log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    Connections(settings.security).watch(server)
    server.run()


if __name__ == "__main__":
    main()
