"""Serves the demo page and the API docs: static files, read once at start, without external resources."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent
HTML, CSS, SCRIPT, SVG = "text/html", "text/css", "text/javascript", "image/svg+xml"
FILES = {
    "/": ("index.html", HTML),
    "/page/page.css": ("page.css", CSS),
    "/page/page.js": ("page.js", SCRIPT),
    "/page/icon.svg": ("icon.svg", SVG),
    "/docs": ("docs.html", HTML),
    "/page/docs.js": ("docs.js", SCRIPT),
}


def page_routes() -> list[Route]:
    """One route per file."""
    return [_route(path, (FOLDER / name).read_bytes(), media_type) for path, (name, media_type) in FILES.items()]


def _route(path: str, content: bytes, media_type: str) -> Route:
    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, serve)
