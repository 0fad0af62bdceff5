"""A web server on this machine."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What is answered to a path.

    Attributes:
        length: What the answer says its length is; None for its true length.
        authorization: The header without which the page is refused.
    """

    content: bytes = b""
    status: int = HTTPStatus.OK
    changed: datetime | None = None
    length: int | None = None
    authorization: str | None = None


@dataclass
class WebServer:
    url: str
    pages: dict[str, Page] = field(default_factory=dict)


@contextmanager
def web_server(pages: Mapping[str, Page]) -> Iterator[WebServer]:
    """Serves pages by path, with or without parameters."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = server.pages.get(self.path.partition("?")[0], Page(status=HTTPStatus.NOT_FOUND))
            if page.authorization is not None and self.headers["Authorization"] != page.authorization:
                page = Page(status=HTTPStatus.UNAUTHORIZED)
            self.send_response(page.status)
            self.send_header("Content-Length", str(len(page.content) if page.length is None else page.length))
            if page.changed is not None:
                self.send_header("Last-Modified", format_datetime(page.changed, usegmt=True))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page.content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = WebServer(f"http://127.0.0.1:{http.server_port}", dict(pages))
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()
