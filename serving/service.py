"""The Bento: one service with one worker process, which serves our ASGI app."""

import os

from serving.process import garbage

garbage.gc_for_loading()  # importing BentoML allocates a lot
import bentoml  # noqa: E402
from starlette.types import ASGIApp  # noqa: E402


class AsgiService(bentoml.Service):
    """A BentoML service whose worker serves our ASGI app directly.

    It bypasses BentoML's own routes and middleware, which take longer to load than most of our code and would add
    more latency than most requests take. BentoML still manages the processes.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Builds the app. Imports are local: the parent process, which only starts the worker, needs none of them."""
        garbage.gc_for_loading()
        os.environ.pop(
            "PROMETHEUS_MULTIPROC_DIR", None
        )  # a single worker keeps its metrics in memory, not in shared files
        from serving.http.app import make_app
        from serving.runtime import Runtime
        from serving.telemetry import logs

        return make_app(Runtime(logs.set_up))


@bentoml.service(name="duotempo", workers=1, service_class=AsgiService)
class Duotempo:
    """Recommendations that fuse a person's long-term and short-term interests."""


garbage.gc_for_serving()  # the parent process loads nothing else
