"""Our app in the place of BentoML's."""

from starlette.types import ASGIApp, Receive, Scope, Send


class OwnRoutes:
    """Gives every request to our app, past BentoML's routes and its middlewares, which take longer than most answers.

    What begins and ends the process stays with BentoML.
    """

    def __init__(self, app: ASGIApp, own: ASGIApp) -> None:
        self._bento = app
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["app"].middleware_stack = self  # of BentoML's Starlette: the first thing that a request meets
        await (self._own if scope["type"] == "http" else self._bento)(scope, receive, send)
