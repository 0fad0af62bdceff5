"""The Bento: one service, one process, our ASGI app inside."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import bentoml
from starlette.applications import Starlette

from serving import heap
from serving.own_routes import OwnRoutes


class LateApp(Starlette):
    """Our app, imported when a worker begins: the processes that start the workers have no need of it."""

    def __init__(self) -> None:
        super().__init__(lifespan=self._live)

    @asynccontextmanager
    async def _live(self, _: Starlette) -> AsyncIterator[None]:
        heap.expect_much()
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # one worker counts in memory, not in files beside others
        from serving import logs
        from serving.app import make_app
        from serving.runtime import Runtime

        app = make_app(Runtime(logs.set_up))
        self.middleware_stack = app
        async with app.router.lifespan_context(app):
            yield


app = LateApp()


@bentoml.service(
    name="duotempo",
    workers=1,
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app)
class Duotempo:
    """Recommendations that fuse a person's long-term and short-term interests."""


Duotempo.add_asgi_middleware(OwnRoutes, own=app)  # type: ignore[attr-defined]  # the decorator makes it a Service
