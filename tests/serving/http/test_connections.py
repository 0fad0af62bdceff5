"""Connections that ask for nothing: they end, and cost nobody else an answer. A real server with a trivial app."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from components.settings import SecuritySettings
from serving.http.connections import MAX_HEAD, Connections
from serving.process.transport import write_together
from tests.support.waiting import eventually

ANSWER = b"HTTP/1.1 200 OK"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, or, at /read, once it has the body."""
    body = await Request(scope, receive).body() if scope["path"] == "/read" else b""
    response: Response = PlainTextResponse(f"{len(body)}")
    await response(scope, receive, send)


@contextmanager
def served(**limits: float) -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(app, host="0.0.0.0", port=0, lifespan="off", log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    write_together(server)
    Connections(SecuritySettings.model_validate(limits)).watch(server)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, 30)
        yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)


def opened(address: tuple[str, int], sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(sent)
    return connection


def said(connection: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return connection.recv(65_536)
    return b""


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nthe rest of a body that nobody asked for",
    ],
)  # fmt: skip
def test_a_connection_without_a_request_ends_however_it_drips(sent: bytes) -> None:
    with served(head_seconds=1) as address, closing(opened(address, sent)) as connection:
        connection.settimeout(0.3)
        for _ in range(100):
            with suppress(TimeoutError):
                if not said(connection):
                    return
            with suppress(ConnectionError):
                connection.sendall(b"x")
        raise AssertionError("it is still open")


def test_requests_go_on_beside_more_connections_than_there_may_be() -> None:
    with ExitStack() as stack:
        address = stack.enter_context(served(connections=20, head_seconds=600))

        def open_one(sent: bytes) -> socket.socket:
            return stack.enter_context(closing(opened(address, sent)))

        slow = open_one(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        half = [open_one(b"GET / HTTP/1.1\r\n"[: number % 10]) for number in range(60)]
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=30) as client:
            for _ in range(3):
                assert client.get("/").text == "0"
            eventually(lambda: sum(map(is_open, half)) == 19)
            assert not any(map(is_open, half[:40])), "those that have waited longest have gone"
            assert not is_open(slow), "a body that does not come makes room too"
            assert client.get("/").text == "0"


class Caller:
    """A connection from an address that this machine has not, and its own transport."""

    head = 0
    is_answering = False

    def __init__(self, address: str) -> None:
        self.client = (address, 1)
        self.transport = self
        self.is_open = True

    def abort(self) -> None:
        self.is_open = False


def test_one_address_may_have_so_many() -> None:
    async def call() -> None:
        connections = Connections(SecuritySettings(address_connections=5))
        callers = [Caller(address) for address in ("203.0.113.9", "203.0.113.10", "127.0.0.1", "::1") for _ in range(8)]
        for caller in callers:
            connections.opened(caller)
        left = Counter(caller.client[0] for caller in callers if caller.is_open)
        assert left == {"203.0.113.9": 5, "203.0.113.10": 5, "127.0.0.1": 8, "::1": 8}
        connections.closed(callers[0])
        late = [Caller("203.0.113.9") for _ in range(2)]
        for caller in late:
            connections.opened(caller)
        assert [caller.is_open for caller in late] == [True, False]

    asyncio.run(call())


def test_a_head_without_an_end_is_refused() -> None:
    with served() as address, closing(opened(address, b"GET / HTTP/1.1\r\n")) as connection:
        with suppress(ConnectionError):
            for _ in range(2 * MAX_HEAD // 1000):
                connection.sendall(b"x-more: " + b"x" * 990 + b"\r\n")
        assert said(connection).startswith(b"HTTP/1.1 400") or not is_open(connection)


def test_the_rest_of_a_body_that_was_not_waited_for_may_come() -> None:
    size = 4 * MAX_HEAD
    with served() as address, closing(opened(address)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        assert said(connection).startswith(ANSWER)
        connection.sendall(b"x" * size)
        for _ in range(2):
            connection.sendall(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
            assert said(connection).endswith(b"\r\n\r\n3")


def test_requests_that_come_together_are_all_answered() -> None:
    ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(head_seconds=1) as address, closing(opened(address, ask * 5)) as connection:
        answers = b""
        while answers.count(ANSWER) < 5:
            answers += said(connection)
        time.sleep(1.5)
        connection.sendall(ask)
        assert said(connection).startswith(ANSWER) or not is_open(connection)


def test_there_is_no_websocket() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with served() as address, closing(opened(address, upgrade)) as connection:
        assert said(connection).startswith(ANSWER)
