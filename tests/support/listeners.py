"""Real recipients of alerts: a webhook and a mail server that record what they receive."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Listener:
    """A recipient at `url`. `got` holds what it received; while `refuses` is set, the webhook rejects everything."""

    url: str = ""
    got: list[Any] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def webhook() -> Iterator[Listener]:
    """A webhook; `got` holds the JSON bodies."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not listener.refuses:
                listener.got.append(json.loads(body))
            self.send_response(503 if listener.refuses else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.url = f"http://127.0.0.1:{server.server_port}/services/secret-token"
    with _running(server):
        yield listener


@contextmanager
def mail_server() -> Iterator[Listener]:
    """An SMTP server; `got` holds the messages as text."""
    listener = Listener()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._reply("220 here")
            while line := self.rfile.readline().decode().strip().upper():
                self._reply("354 go on" if line == "DATA" else "221 bye" if line == "QUIT" else "250 well")
                if line == "DATA":
                    lines = iter(self.rfile.readline, b".\r\n")
                    listener.got.append(b"".join(lines).decode())
                    self._reply("250 taken")
                if line == "QUIT":
                    return

        def _reply(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    listener.url = f"smtp://127.0.0.1:{server.server_address[1]}"
    with _running(server):
        yield listener


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
