"""The Bento: one service, one process, our ASGI app inside."""

import bentoml

from serving.app import make_app
from serving.middleware import OwnRoutes
from serving.runtime import Runtime

app = make_app(Runtime())


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
