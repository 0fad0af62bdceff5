"""The Bento: one service, one process, our ASGI app inside."""

import os

from serving.process import garbage

garbage.gc_for_loading()  # BentoML is much
import bentoml  # noqa: E402
from starlette.types import ASGIApp  # noqa: E402


class OwnApp(bentoml.Service):
    """A service whose worker answers by our app alone, past BentoML's routes and middlewares, which would take longer
    to load than most of our own, and longer than most answers. BentoML still manages the processes."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Imports the app here, as the process that starts the worker has no need of it."""
        garbage.gc_for_loading()
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # one worker counts in memory, not in files beside others
        from serving.http.app import make_app
        from serving.runtime import Runtime
        from serving.telemetry import logs

        return make_app(Runtime(logs.set_up))


@bentoml.service(name="duotempo", workers=1, service_class=OwnApp)
class Duotempo:
    """Recommendations that fuse a person's long-term and short-term interests."""


garbage.gc_for_serving()  # that is all in the process that starts the worker
